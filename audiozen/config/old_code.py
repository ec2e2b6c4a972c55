"""Old names in a recipe's own Python files, found by reading them: nothing is imported, as that may fail."""

from __future__ import annotations

import ast
import os
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from audiozen.config.locate import file_of
from audiozen.config.old_names import Now, old_import, old_member
from audiozen.config.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from audiozen.config.problems import Place


class Use(NamedTuple):
    """An old name in a file."""

    file: Path
    line: int
    old: str
    now: Now


def old_code_problems(
    tables: dict[str, Any], search_dirs: Sequence[Path], *, is_old: bool
) -> list[Problem]:
    """One problem for each old name in a file: an import that is gone, or what a trainer has no more.

    Read are the files to which the paths of the experiment lead, and those that these import.

    Args:
        tables: of the experiment.
        search_dirs: folders of the recipe.
        is_old: the experiment file has old names. Names that a new recipe could have as well are told then, too.
    """
    sources = read_recipe(tables, search_dirs)
    trainers = {source: trainers_in(source, search_dirs) for source in sources}
    own = {name for cls in chain(*trainers.values()) for name in own_names(cls)}
    uses = [
        use
        for source in sources
        for use in (*old_imports(source), *old_members(source.file, trainers[source], own))
    ]
    is_old = is_old or any(use.now.alone for use in uses)
    return in_words([use for use in uses if use.now.alone or is_old], search_dirs)


def old_path_problems(tables: dict[str, Any]) -> list[Problem]:
    """Paths of an experiment that lead to what has another name now, or none."""
    found = {place: old_import(path) for place, path in paths_in(tables)}
    return [
        Problem(place, f"{place[-1]}: {old[1]}")
        for place, old in found.items()
        if old and old[1].alone
    ]


def in_words(uses: Iterable[Use], search_dirs: Sequence[Path]) -> list[Problem]:
    """One problem for each name in each file, with all lines."""
    lines: dict[tuple[Path, str, Now], list[int]] = {}
    for file, line, old, now in sorted(uses, key=lambda use: use.line):
        lines.setdefault((file, old, now), []).append(line)
    return [
        Problem((), f"{old}: {now} ({os.path.relpath(file, search_dirs[0])}, {_lines(numbers)})")
        for (file, old, now), numbers in sorted(lines.items(), key=lambda item: item[0][0])
    ]


def _lines(numbers: list[int]) -> str:
    different = list(dict.fromkeys(numbers))
    return f"line{'s' if different[1:] else ''} {', '.join(map(str, different))}"


# ---- the files ---------------------------------------------------------------------------------


class Import(NamedTuple):
    """A name that is imported: ``from ..a import b as c`` has the name ``a.b``, level 2, and is called ``c``."""

    name: str
    level: int
    called: str
    line: int


class Source(NamedTuple):
    """What is looked at of a file."""

    file: Path
    imports: tuple[Import, ...]
    classes: tuple[ast.ClassDef, ...]


def read_recipe(tables: dict[str, Any], search_dirs: Sequence[Path]) -> list[Source]:
    """The recipe's own files that can be read."""
    found: dict[Path, Source | None] = {}
    own = {entry.stem for folder in search_dirs if folder.is_dir() for entry in folder.iterdir()}
    waiting = [(path, search_dirs) for _, path in paths_in(tables)]
    for name, folders in waiting:  # which grows
        file = _file_of_dotted(name, folders)
        if file is None or file in found:
            continue
        source = found[file] = read_source(file)
        for item in source.imports if source else ():
            if item.level:
                waiting.append((item.name, [file.parents[item.level - 1]]))
            elif item.name.partition(".")[0] in own:
                waiting.append((item.name, search_dirs))
    return list(filter(None, found.values()))


def read_source(file: Path) -> Source | None:
    """Imports and classes of a file; None where it is no Python, which is told where it is imported."""
    try:
        nodes = list(statements(ast.parse(file.read_bytes())))
    except (OSError, SyntaxError, ValueError, RecursionError):
        return None
    imports = [item for node in nodes for item in imports_of(node)]
    classes = [node for node in nodes if isinstance(node, ast.ClassDef)]
    return Source(file, tuple(imports), tuple(classes))


def statements(node: ast.AST) -> Iterator[ast.stmt]:
    """All statements in a module or statement, without those parts of them that are expressions."""
    for field in ("body", "handlers", "orelse", "finalbody", "cases"):
        for child in getattr(node, field, ()):
            if isinstance(child, ast.stmt):
                yield child
            yield from statements(child)


def imports_of(node: ast.stmt) -> Iterator[Import]:
    """What a statement imports."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        module, level = getattr(node, "module", None), getattr(node, "level", 0)
        for alias in node.names:
            name = f"{module}.{alias.name}" if module else alias.name
            yield Import(name, level, alias.asname or alias.name, alias.lineno)


def paths_in(value: Any, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """All dotted names in the tables of an experiment, and where they stand."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        if key in ("path", "collate_fn") and isinstance(item, str):
            yield (*place, key), item
        elif isinstance(item, dict | list):
            yield from paths_in(item, (*place, key))


def _file_of_dotted(name: str, folders: Sequence[Path]) -> Path | None:
    """The file of the longest beginning of a dotted name that has one."""
    parts = name.split(".")
    if not all(part.isidentifier() for part in parts):
        return None
    beginnings = ("/".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((file for part in beginnings if (file := file_of(part, folders))), None)


# ---- what is in them ---------------------------------------------------------------------------


def old_imports(source: Source) -> Iterator[Use]:
    """Imports of what has another name, or none."""
    for item in source.imports:
        if not item.level and (found := old_import(item.name)):
            yield Use(source.file, item.line, item.name, found[1])


def old_members(file: Path, classes: Iterable[ast.ClassDef], own: set[str]) -> Iterator[Use]:
    """Old uses of ``self`` in classes made of a trainer, and old methods of theirs.

    Args:
        file: where they are.
        classes: what they are.
        own: names that the recipe gives to its trainer itself.
    """
    for cls in classes:
        members = _Members()
        members.visit(cls)
        for spelling, line in members.found:
            found = old_member(spelling)
            is_own = name_in(spelling) in own
            if found and not (is_own and found[1].alone):
                yield Use(file, line, *found)


def name_in(spelling: str) -> str:
    """The attribute in ``self.attribute.rest``."""
    return spelling.removeprefix("self.").partition(".")[0].rstrip("[]")


def trainers_in(source: Source, search_dirs: Sequence[Path]) -> list[ast.ClassDef]:
    """Classes made of one that is called a trainer; not where that comes from a package, as it may have anything."""
    origins = {item.called: item for item in source.imports}

    def is_trainer(base: ast.expr) -> bool:
        first, _, rest = ast.unparse(base).partition(".")
        origin = origins.get(first, Import(first, 1, first, 0))
        is_ours = (
            origin.level > 0
            or f"{origin.name}.".startswith("audiozen.")
            or _file_of_dotted(origin.name, search_dirs) is not None
        )
        return (rest or origin.name).endswith("Trainer") and is_ours

    return [cls for cls in source.classes if any(map(is_trainer, cls.bases))]


def own_names(cls: ast.ClassDef) -> Iterator[str]:
    """What a class gives itself: ``self.x = ...``, ``x = ...``, and methods."""
    for node in ast.walk(cls):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield ast.unparse(node).removeprefix("self.")
    for node in cls.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name))


class _Members(ast.NodeVisitor):
    """Collects what a class uses of ``self``, and which methods it has, as :data:`MEMBERS` spells them."""

    def __init__(self) -> None:
        self.found: list[tuple[str, int]] = []

    def visit_Attribute(self, node: ast.Attribute) -> None:
        """``self.accelerator.backward``, as a whole."""
        text = ast.unparse(node)
        if text.startswith("self.") and all(part.isidentifier() for part in text.split(".")):
            self.found.append((text, node.lineno))
        else:
            self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        """``self.config["trainer"]``: settings were tables."""
        if ast.unparse(node.value) == "self.config":
            self.found.append(("self.config[]", node.lineno))
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        """``x.to(self.rank)``: the rank was a device."""
        if isinstance(node.func, ast.Attribute) and node.func.attr == "to":
            arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
            if "self.rank" in map(ast.unparse, arguments):
                self.found.append((".to(self.rank)", node.lineno))
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """A hook that nobody calls any more; arguments that a constructor is not given any more."""
        self.found.append((f"def {node.name}", node.lineno))
        if node.name == "__init__":
            for argument in (*node.args.args, *node.args.kwonlyargs):
                self.found.append((f"__init__({argument.arg})", node.lineno))
        self.generic_visit(node)
