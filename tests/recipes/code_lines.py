"""How many lines of code a file has."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def num_code_lines(path: Path) -> int:
    """Lines that are not blank, comment or docstring."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    lines = {
        line
        for node in ast.walk(tree)
        if isinstance(node, (ast.stmt, ast.expr, ast.arg, ast.alias))
        for line in (node.lineno, node.end_lineno)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):  # documentation
            lines -= set(range(node.lineno, (node.end_lineno or 0) + 1))
    return len(lines)
