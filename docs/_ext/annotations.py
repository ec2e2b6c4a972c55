"""Types in signatures that lead to where they are described, also those that a module imports for types only."""

from __future__ import annotations

import ast
import importlib
import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_done = set[str]()


def setup(app: Sphinx) -> dict[str, Any]:
    """Listen to autodoc, before it looks at a signature."""
    app.connect("autodoc-before-process-signature", _know_types)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _know_types(_app: Sphinx, documented: Any, _is_bound: bool) -> None:
    module = getattr(documented, "__module__", None) or ""
    if module.startswith("audiozen."):
        _import_for_types(module)


def _import_for_types(name: str) -> None:
    """Run what stands under ``if TYPE_CHECKING`` in a module, and before that in those that it imports from there."""
    if name in _done:
        return
    _done.add(name)
    module = importlib.import_module(name)
    body = _for_types(ast.parse(inspect.getsource(module)))
    for other in [
        statement.module or "" for statement in body if isinstance(statement, ast.ImportFrom)
    ]:
        if other.startswith("audiozen."):
            _import_for_types(other)
    exec(compile(ast.Module(body, []), name, "exec"), vars(module))  # noqa: S102  our own lines


def _for_types(tree: ast.Module) -> list[ast.stmt]:
    blocks = [node for node in tree.body if isinstance(node, ast.If)]
    blocks = [node for node in blocks if ast.unparse(node.test) == "TYPE_CHECKING"]
    return [statement for block in blocks for statement in block.body]
