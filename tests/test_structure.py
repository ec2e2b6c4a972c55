"""The shape of the house: which way imports point, and what is public."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import audiozen
from scripts.measure import Tree

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "audiozen"

# A part may import those of the floors below it, and itself. Parts of one floor do not know each other.
FLOORS = [
    {"errors", "system"},
    {"config", "acoustics", "durable_files", "processes", "run_folder"},
    {"losses", "metrics", "data", "strategies", "streaming", "tables"},
    {"complexity", "engine", "pretrained", "record", "tracking"},
    {"inference", "trainer", "testing", "results"},
    {"experiment", "report"},
    {"sweep"},
    {"cli"},
    {"__main__"},
]
FLOOR_OF = {part: number for number, floor in enumerate(FLOORS) for part in floor}


def part_of(module: str) -> str:
    """``audiozen.trainer.state`` is of the part ``trainer``."""
    return module.split(".")[1]


def imports_of(file: Path) -> set[str]:
    """Modules of the package that a file imports, also inside functions and for types."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= set(names) if node.module == "audiozen" else {node.module}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{file}: relative import"
    return {name for name in found if name.startswith("audiozen.")} - {"audiozen.__version__"}


def files() -> list[Path]:
    return [
        path
        for path in sorted(PACKAGE.rglob("*.py"))
        if "template" not in path.parts and path != PACKAGE / "__init__.py"
    ]


@pytest.mark.parametrize("file", files(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(file):
    part = part_of(".".join(["audiozen", *file.relative_to(PACKAGE).with_suffix("").parts]))
    for module in imports_of(file):
        other = part_of(module)
        assert other == part or FLOOR_OF[other] < FLOOR_OF[part], f"{part} imports {module}"


def test_imports_hide_in_functions_for_start_up_time_alone():
    """What they bring is a package of others, which the module does without until then."""
    tree = Tree(ROOT, "audiozen", without=["template"])

    @cache
    def brings(name: str) -> set[str]:
        loaded = [tree.by_name[module] for module in tree.loaded_with(name)]
        names = {name.split(".")[0] for module in loaded for name in module.imports}
        return names - sys.stdlib_module_names

    needless = [
        f"{module} imports {other}"
        for module, other in tree.hidden_imports()
        if not brings(other) - brings(module)
    ]
    assert needless == []


def test_nothing_imports_recipes():
    imports = re.compile(r"^\s*(from|import) recipes\b", re.MULTILINE)
    assert not [file for file in files() if imports.search(file.read_text())]


def test_public_names_are_listed_sorted_and_there():
    assert audiozen.__all__ == sorted(audiozen.__all__)
    for name in audiozen.__all__:
        assert getattr(audiozen, name).__doc__
    with pytest.raises(AttributeError, match="has no attribute 'Trainer'"):
        _ = audiozen.Trainer


def test_importing_the_package_does_not_import_torch():
    code = "import sys, audiozen; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
