"""Measures of the source: how long, how much of it twice, what imports what. Prints the rows of docs/measures.md.

Nothing is imported that is measured; the files are read as text.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

ROOT = Path(__file__).parents[1]
WINDOW = 6
"""Lines that must be alike for a piece of code to count as there twice."""
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
DOCUMENTED = (*FUNCTION, ast.ClassDef)
LAYOUT = {
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.COMMENT,
    tokenize.ENDMARKER,
}


@dataclass(frozen=True)
class Function:
    """A function, without its docstring."""

    name: str
    num_lines: int


class Module:
    """One file.

    Args:
        path: where it is.
        name: what it is imported as.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        self.text = path.read_text(encoding="utf-8")
        self.tree = ast.parse(self.text)

    @cached_property
    def code(self) -> dict[int, str]:
        """Lines that are neither blank nor comment nor docstring, stripped, by number."""
        tokens = tokenize.generate_tokens(io.StringIO(self.text).readline)
        numbers = {
            number
            for token in tokens
            if token.type not in LAYOUT
            for number in range(token.start[0], token.end[0] + 1)
        }
        for docstring in self._docstrings():
            numbers -= set(range(docstring.lineno, (docstring.end_lineno or 0) + 1))
        lines = self.text.splitlines()
        return {number: lines[number - 1].strip() for number in sorted(numbers)}

    def _docstrings(self) -> Iterator[ast.stmt]:
        """Docstrings, also those below an attribute."""
        for node in ast.walk(self.tree):
            body = getattr(node, "body", None)
            for statement in body if isinstance(body, list) else ():
                if is_text(statement):
                    yield statement

    @cached_property
    def functions(self) -> list[Function]:
        """All of them, methods and inner ones, too."""
        numbers = list(self.code)
        return [
            Function(
                f"{self.name}.{node.name}",
                bisect_right(numbers, node.end_lineno or 0) - bisect_left(numbers, node.lineno),
            )
            for node in ast.walk(self.tree)
            if isinstance(node, FUNCTION)
        ]

    def public(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
        """Public functions and classes of the module, and public methods of public classes."""
        for node in self.tree.body:
            if isinstance(node, DOCUMENTED) and not node.name.startswith("_"):
                yield node
                if isinstance(node, ast.ClassDef):
                    yield from (
                        member
                        for member in node.body
                        if isinstance(member, FUNCTION) and not member.name.startswith("_")
                    )

    def annotations(self) -> Iterator[bool]:
        """Of each parameter and each result, whether it has a type."""
        for node in ast.walk(self.tree):
            if isinstance(node, FUNCTION):
                arguments = node.args
                every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
                every += [star for star in (arguments.vararg, arguments.kwarg) if star is not None]
                yield from (
                    argument.annotation is not None
                    for argument in every
                    if argument.arg not in ("self", "cls")
                )
                yield node.returns is not None

    @cached_property
    def imports(self) -> list[str]:
        """What it imports when it is loaded. Not what only types need."""
        return [
            name
            for node, depth in walk_imports(self.tree.body)
            if not depth
            for name in names_of(node)
        ]

    @cached_property
    def hidden_imports(self) -> list[str]:
        """What its functions import when they run."""
        return [
            name for node, depth in walk_imports(self.tree.body) if depth for name in names_of(node)
        ]


def is_text(statement: ast.stmt) -> bool:
    """Whether a statement is a string and nothing else."""
    value = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def names_of(node: ast.Import | ast.ImportFrom) -> list[str]:
    """What is imported: modules, and names in modules."""
    start = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
    return [f"{start}{alias.name}" for alias in node.names]


def walk_imports(
    statements: Iterable[ast.stmt], depth: int = 0
) -> Iterator[tuple[ast.Import | ast.ImportFrom, int]]:
    """Imports, and in how many functions they stand."""
    for node in statements:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, depth
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from walk_imports(node.orelse, depth)
        else:
            inner = depth + isinstance(node, FUNCTION)
            for field in ("body", "orelse", "finalbody", "handlers"):
                for child in getattr(node, field, ()):
                    yield from walk_imports([child], inner)


class Tree:
    """All modules of some folders.

    Args:
        root: what names are counted from.
        folders: which folders below it.
    """

    def __init__(self, root: Path, *folders: str, without: Sequence[str] = ()) -> None:
        paths = [
            path
            for folder in folders
            for path in sorted((root / folder).rglob("*.py"))
            if not {*path.relative_to(root).parts} & {*without, "__pycache__"}
        ]
        modules = [Module(path, module_name(path.relative_to(root))) for path in paths]
        self.modules = [module for module in modules if module.code]
        self.by_name = {module.name: module for module in self.modules}

    @property
    def num_code_lines(self) -> int:
        """Of all modules."""
        return sum(len(module.code) for module in self.modules)

    @cached_property
    def functions(self) -> list[Function]:
        """Of all modules."""
        return [function for module in self.modules for function in module.functions]

    def share_documented(self) -> float:
        """Share of public functions and classes with a docstring."""
        return share(
            ast.get_docstring(node) is not None
            for module in self.modules
            for node in module.public()
        )

    def share_typed(self) -> float:
        """Share of parameters and results with a type."""
        return share(typed for module in self.modules for typed in module.annotations())

    def share_twice(self) -> float:
        """Share of the lines that stand in a run of six that another file has, too."""
        holders = defaultdict(set)
        for module in self.modules:
            for _, window in windows(module):
                holders[window].add(module.name)
        num_twice = 0
        for module in self.modules:
            found: set[int] = set()
            for numbers, window in windows(module):
                if len(holders[window]) > 1:
                    found |= set(numbers)
            num_twice += len(found)
        return num_twice / self.num_code_lines

    def target(self, imported: str) -> str | None:
        """The module of this tree that is meant, if any."""
        names = (imported, imported.rpartition(".")[0])
        return next((name for name in names if name in self.by_name), None)

    def loaded_with(self, name: str) -> set[str]:
        """Modules of this tree that are imported when this one is; its packages, too, as Python does."""
        found, waiting = set(), [name]
        while waiting:
            module = waiting.pop()
            parts = module.split(".")
            for end in range(1, len(parts) + 1):
                part = ".".join(parts[:end])
                if part in self.by_name and part not in found:
                    found.add(part)
                    targets = map(self.target, self.by_name[part].imports)
                    waiting += [target for target in targets if target is not None]
        return found

    def num_cycles(self) -> int:
        """Modules that are imported, on some way, by one that they import."""
        direct = {
            module.name: {
                target
                for target in map(self.target, module.imports)
                if target is not None and target != module.name
            }
            for module in self.modules
        }
        return sum(name in reachable(direct, name) for name in direct)

    def hidden_imports(self) -> list[tuple[str, str]]:
        """Module and imported module, for the tree's own that functions import."""
        return [
            (module.name, target)
            for module in self.modules
            for target in dict.fromkeys(map(self.target, module.hidden_imports))
            if target is not None
        ]


def reachable(direct: dict[str, set[str]], start: str) -> set[str]:
    """All that can be come to."""
    found: set[str] = set()
    waiting = list(direct[start])
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += direct[name]
    return found


def windows(module: Module) -> Iterator[tuple[tuple[int, ...], tuple[str, ...]]]:
    """Runs of six lines of code: their numbers and texts."""
    lines = list(module.code.items())
    for start in range(len(lines) - WINDOW + 1):
        numbers, texts = zip(*lines[start : start + WINDOW])
        yield numbers, texts


def module_name(path: Path) -> str:
    """What a file is imported as."""
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def share(answers: Iterable[bool]) -> float:
    """Share of those that are true."""
    counts = Counter(answers)
    return counts[True] / max(1, counts.total())


def row(title: str, tree: Tree, num_test_lines: int | None) -> str:
    """One line of the table."""
    sizes = [len(module.text.splitlines()) for module in tree.modules]
    lengths = [function.num_lines for function in tree.functions]
    cells = [
        title,
        f"{len(tree.modules)}",
        f"{tree.num_code_lines:,}",
        f"{median(sizes):.0f} / {max(sizes):,}",
        f"{median(lengths):.0f} / {quantiles(lengths, n=10)[-1]:.0f} / {max(lengths)}",
        f"{tree.share_documented():.0%}",
        f"{tree.share_typed():.0%}",
        "" if num_test_lines is None else f"{num_test_lines / tree.num_code_lines:.2f}",
        f"{tree.share_twice():.0%}",
        f"{tree.num_cycles()} / {len(tree.hidden_imports())}",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the rows of this repository."""
    tests = Tree(ROOT, "tests").num_code_lines
    package = Tree(ROOT, "audiozen", without=["template"])
    print(row("**AudioZEN, package**", package, tests))
    print(row("**AudioZEN, recipes**", Tree(ROOT, "recipes"), None))
    longest = sorted(package.functions, key=lambda function: -function.num_lines)
    for function in longest[:5]:
        print(f"{function.num_lines:4} {function.name}", file=sys.stderr)


if __name__ == "__main__":
    main()
