from __future__ import annotations

import ast
import importlib
import inspect
from difflib import ndiff

import pytest

from audiozen.errors import AudioZENError
from tests.surface import names, record
from tests.surface.names import Module, is_public, public_functions, public_modules

COMMAND = "python -m tests.surface.record"
MODULES = pytest.mark.parametrize(
    "module", [Module(name) for name in public_modules()], ids=lambda m: m.name
)


@pytest.mark.parametrize("path", list(record.FILES), ids=lambda path: path.name)
def test_surface_is_as_recorded(path) -> None:
    before, now = path.read_text(), record.FILES[path]()
    changes = [line for line in ndiff(before.splitlines(), now.splitlines()) if line[0] in "+-"]
    if changes:
        pytest.fail(
            "the public surface has changed:\n  " + "\n  ".join(changes) + "\n"
            f"If that is wanted, tell it in CHANGELOG.md and run `{COMMAND}`. docs/stability.md says what is promised.",
            pytrace=False,
        )


def test_stability_page_names_the_command_that_records() -> None:
    assert f"```sh\n{COMMAND}\n```" in names.STABILITY.read_text()


@MODULES
def test_public_names_are_sorted_and_there(module: Module) -> None:
    constants = [name for name in module.names if name.isupper()]
    classes = [name for name in module.names if name[0].isupper() and not name.isupper()]
    functions = [name for name in module.names if name[0].islower()]
    assert module.names == [*sorted(constants), *sorted(classes), *sorted(functions)]
    imported = importlib.import_module(module.name)
    for name in module.names:
        if f"{module.name}.{name}" not in public_modules():
            assert hasattr(imported, name)


@MODULES
def test_modules_that_a_package_lists_are_those_of_the_page(module: Module) -> None:
    inside = {name for name in public_modules() if name.rpartition(".")[0] == module.name}
    listed = {
        f"{module.name}.{name}" for name in module.names if not module.home(name).definitions(name)
    }
    assert listed <= inside
    assert listed in (set(), inside), "the page and __all__ differ"


@MODULES
def test_public_things_have_docstrings(module: Module) -> None:
    nodes = list(public_functions(module))
    documented = {name for name, node in nodes if ast.get_docstring(node)}
    undocumented = {name for name, _ in nodes} - documented
    assert [name for name in sorted(undocumented) if not inherits_docstring(module, name)] == []


@MODULES
def test_public_things_have_full_annotations(module: Module) -> None:
    assert [name for name, node in public_functions(module) if lacks_types(node)] == []


def inherits_docstring(module: Module, name: str) -> bool:
    """Whether a method says the same as that of the base class, which says it."""
    *owner, method = name.removeprefix(f"{module.name}.").split(".")
    imported = importlib.import_module(module.name)
    return bool(owner and inspect.getdoc(getattr(getattr(imported, owner[0]), method)))


def lacks_types(node: names.Function | ast.ClassDef) -> bool:
    if isinstance(node, ast.ClassDef):
        return any(
            lacks_types(member)
            for member in node.body
            if isinstance(member, names.Function) and member.name in ("__init__", "__call__")
        )
    arguments = node.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    every += filter(None, [arguments.vararg, arguments.kwarg])
    own = every[1:] if every and every[0].arg in ("self", "cls") else every
    return node.returns is None or any(argument.annotation is None for argument in own)


def test_every_exception_is_public_and_of_the_family() -> None:
    errors = importlib.import_module("audiozen.errors")
    raised = [cls for cls in vars(errors).values() if inspect.isclass(cls)]
    assert sorted(cls.__name__ for cls in raised) == errors.__all__
    assert all(issubclass(cls, AudioZENError) for cls in raised)


SAMPLE = '''
"""A module."""
__all__ = ["LIMIT", "Thing", "make"]
LIMIT: int = 3

class Thing(Base, key=1):
    """A thing."""
    size: float = 0.5
    def __init__(self, size: float) -> None: ...
    @property
    def half(self) -> float:
        """Half of it."""
    def _hidden(self): ...

async def make(a, *b: int, c: str = "x", **d: int) -> Thing: ...
def helper(): ...
'''


@pytest.fixture
def sample(tmp_path, monkeypatch) -> Module:
    monkeypatch.setattr(names, "ROOT", tmp_path)
    (tmp_path / "sample.py").write_text(SAMPLE)
    return Module("sample")


class TestRecord:
    def test_has_names_members_and_signatures(self, sample: Module) -> None:
        assert list(names.lines_of(sample)) == [
            "LIMIT: int = 3",
            "class Thing(Base, key=1)",
            "    size: float = 0.5",
            "    __init__(self, size: float) -> None",
            "    @property half(self) -> float",
            "make(a, *b: int, c: str='x', **d: int) -> Thing",
        ]

    def test_what_lacks_a_type_or_a_docstring_is_seen(self, sample: Module) -> None:
        nodes = dict(public_functions(sample))
        assert list(nodes) == ["sample.Thing", "sample.Thing.half", "sample.make"]
        assert [name for name, node in nodes.items() if lacks_types(node)] == ["sample.make"]
        assert not ast.get_docstring(nodes["sample.make"])

    def test_a_name_that_is_not_there_is_refused(self, sample: Module) -> None:
        sample.path.write_text('__all__ = ["gone"]')
        with pytest.raises(AssertionError, match="sample has no gone"):
            list(names.lines_of(sample))


def test_underscores_hide() -> None:
    assert [is_public(name) for name in ("read", "_read", "__len__")] == [True, False, False]
