"""The public names of the package with their signatures, read from its source: nothing is imported.

Public are the modules that docs/stability.md lists, and of each the names in its ``__all__``.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
STABILITY = ROOT / "docs/stability.md"
Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def public_modules() -> list[str]:
    """What the table of docs/stability.md promises: packages, and modules of them."""
    rows = re.findall(r"^\| `(audiozen[\w.]*)` \| (.*?) \|", STABILITY.read_text(), re.MULTILINE)
    assert rows, "docs/stability.md has no table of modules"
    return sorted(
        module
        for name, modules in rows
        for module in (name, *(f"{name}.{part}" for part in re.findall(r"`(\w+)`", modules)))
    )


@dataclass(frozen=True)
class Module:
    """One source file."""

    name: str

    @property
    def path(self) -> Path:
        folder = ROOT.joinpath(*self.name.split("."))
        return folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")

    @property
    def tree(self) -> ast.Module:
        return _parsed(self.path)

    @property
    def names(self) -> list[str]:
        """What ``__all__`` says."""
        for node in self.tree.body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                names: list[str] = ast.literal_eval(node.value)
                return names
        raise AssertionError(f"{self.name} has no __all__")

    def home(self, name: str) -> Module:
        """The module that defines a name which this one may have imported."""
        if self.definitions(name):
            return self
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ImportFrom) and name in {alias.name for alias in node.names}:
                assert node.module
                return Module(node.module).home(name)
        return self

    def definitions(self, name: str) -> list[ast.stmt]:
        """The statements that make a name: several for an overloaded function."""
        return [node for node in self.tree.body if _target(node) == name]


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _target(node: ast.stmt) -> str:
    if isinstance(node, ast.AnnAssign):
        return ast.unparse(node.target)
    if isinstance(node, ast.Assign):
        return ast.unparse(node.targets[0])
    return getattr(node, "name", "")


def lines_of(module: Module) -> Iterator[str]:
    """One line per public name, and per member of a class."""
    for name in module.names:
        home = module.home(name)
        if Module(f"{module.name}.{name}").path.exists() and not home.definitions(name):
            yield f"{name}: module"
        elif home != module and home.name in public_modules():
            yield f"{name}: {home.name}.{name}"
        else:
            assert home.definitions(name), f"{module.name} has no {name}"
            for node in home.definitions(name):
                yield from _lines_of_definition(node)


def _lines_of_definition(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.ClassDef):
        bases = ", ".join(map(ast.unparse, [*node.bases, *node.keywords]))
        yield f"{_marks(node)}class {node.name}" + (f"({bases})" if bases else "")
        yield from (f"    {line}" for member in node.body for line in _lines_of_member(member))
    elif isinstance(node, Function):
        yield from signature(node)
    else:
        yield _field(node)


def _lines_of_member(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, Function) and (
        is_public(node.name) or node.name in ("__init__", "__call__")
    ):
        yield from signature(node)
    elif isinstance(node, ast.AnnAssign | ast.Assign) and is_public(_target(node)):
        yield _field(node)


def signature(node: Function) -> Iterator[str]:
    """``name(a: int, *, b: str = 'x') -> float``, with what it is decorated with."""
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    yield f"{_marks(node)}{node.name}({ast.unparse(node.args)}){returns}"


def _marks(node: Function | ast.ClassDef) -> str:
    return "".join(f"@{ast.unparse(mark)} " for mark in node.decorator_list)


def _field(node: ast.stmt) -> str:
    """A field or a constant; the value only where it is short, as that of a table is no promise."""
    text = ast.unparse(node)
    return text if len(text) <= 100 else text.partition(" = ")[0] + " = ..."


def is_public(name: str) -> bool:
    """Whether a name without ``__all__``, such as that of a method, is public."""
    return not name.startswith("_")


def public_functions(module: Module) -> Iterator[tuple[str, Function | ast.ClassDef]]:
    """Functions, classes and methods that users may call, with their full names."""
    for name in module.names:
        for node in module.home(name).definitions(name):
            if isinstance(node, Function | ast.ClassDef):
                yield f"{module.name}.{name}", node
            if isinstance(node, ast.ClassDef):
                for member in node.body:
                    if isinstance(member, Function) and is_public(member.name):
                        yield f"{module.name}.{name}.{member.name}", member


def record() -> str:
    """The whole surface, as tests/surface/names.txt has it."""
    modules = [name for name in public_modules() if name != "audiozen.config.schema"]
    return "\n\n".join("\n".join([f"# {name}", *lines_of(Module(name))]) for name in modules) + "\n"
