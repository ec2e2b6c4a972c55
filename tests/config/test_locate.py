from __future__ import annotations

import json
import pickle
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest
import torch

from audiozen.config.locate import locate
from audiozen.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _leave_recipes(tmp_path: Path) -> Iterator[None]:
    """Afterwards, imports find what they found before."""
    yield
    empty = tmp_path / "empty"
    empty.mkdir()
    locate("math.pi", [empty])


def write(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(textwrap.dedent(text))
    return file


def test_installed_packages_are_found() -> None:
    assert locate("torch.optim.Adam") is torch.optim.Adam
    assert locate("json.decoder.JSONDecoder.decode") is json.JSONDecoder.decode


def test_folder_comes_before_its_parent_and_before_packages(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe"
    write(recipe, "model.py", "WHERE = 'recipe'")
    write(tmp_path, "model.py", "WHERE = 'parent'")
    write(tmp_path, "data.py", "WHERE = 'parent'")
    write(tmp_path, "wave_only.py", "WHERE = 'parent'")
    dirs = [recipe, tmp_path]
    assert locate("model.WHERE", dirs) == "recipe"
    assert locate("data.WHERE", dirs) == "parent"
    assert locate("wave_only.WHERE", dirs) == "parent"
    assert locate("json.loads", dirs) is json.loads


def test_packages_with_and_without_init_are_found(tmp_path: Path) -> None:
    write(tmp_path, "layers/__init__.py", "DEPTH = 1")
    write(tmp_path, "layers/gru.py", "DEPTH = 2")
    write(tmp_path, "plain_folder/gru.py", "DEPTH = 3")
    assert locate("layers.DEPTH", [tmp_path]) == 1
    assert locate("layers.gru.DEPTH", [tmp_path]) == 2
    assert locate("plain_folder.gru.DEPTH", [tmp_path]) == 3


def make_recipe(folder: Path, name: str) -> Path:
    write(folder, "helper.py", f"NAME = {name!r}")
    write(folder, "trainer.py", "from helper import NAME\nclass Trainer:\n    name = NAME\n")
    return folder


def test_two_recipes_have_modules_of_the_same_name(tmp_path: Path) -> None:
    first, second = make_recipe(tmp_path / "a", "first"), make_recipe(tmp_path / "b", "second")
    from_first = locate("trainer.Trainer", [first])
    assert from_first.name == "first"
    assert locate("trainer.Trainer", [second]).name == "second"
    assert locate("helper.NAME", [second]) == "second"
    again = locate("trainer.Trainer", [first])
    assert again is from_first
    assert pickle.loads(pickle.dumps(again)) is from_first
    assert [entry for entry in sys.path if entry.startswith(str(tmp_path))] == [str(first)]


def test_module_that_somebody_loaded_before_is_put_aside_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere, recipe = tmp_path / "elsewhere", tmp_path / "recipe"
    write(elsewhere, "trainer_module.py", "WHERE = 'elsewhere'")
    write(recipe, "trainer_module.py", "WHERE = 'recipe'")
    monkeypatch.syspath_prepend(str(elsewhere))
    import trainer_module

    assert locate("trainer_module.WHERE", [recipe]) == "recipe"
    locate("math.pi", [elsewhere])
    assert sys.modules["trainer_module"] is trainer_module
    del sys.modules["trainer_module"]


def test_name_of_a_package_in_use_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path, "torch.py", "X = 1")
    with pytest.raises(
        RequestError, match=r"has the name of a module that is in use .*rename it"
    ) as caught:
        locate("torch.X", [tmp_path])
    assert str(file) in str(caught.value)
    assert sys.modules["torch"] is torch


SPAWN = """
import multiprocessing, sys
from torch.utils.data import DataLoader
from audiozen.config.locate import locate
if __name__ == "__main__":
    dataset = locate("data.Numbers", [sys.argv[1]])()
    loader = DataLoader(dataset, num_workers=1, multiprocessing_context="spawn")
    print([int(batch) for batch in loader])
"""


def test_spawned_workers_find_the_recipe(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe"
    write(recipe, "helper.py", "FACTOR = 10")
    write(
        recipe,
        "data.py",
        """
        from helper import FACTOR
        class Numbers:
            def __len__(self): return 3
            def __getitem__(self, index): return index * FACTOR
        """,
    )
    script = write(tmp_path, "script.py", SPAWN)
    command = [sys.executable, str(script), str(recipe)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == "[0, 10, 20]", done.stderr


@pytest.mark.parametrize(
    "path", ["", "model", "model.", ".model.X", "a b.c", "model\0.X", "1.2", "a..b"]
)
def test_name_without_dots_is_refused(path: str) -> None:
    with pytest.raises(RequestError, match="not a dotted name"):
        locate(path)


def test_missing_module_is_told_with_folders_and_near_names(tmp_path: Path) -> None:
    write(tmp_path, "trainer.py", "")
    with pytest.raises(
        RequestError, match=r"no module 'trianer' in .*; did you mean 'trainer'\?"
    ) as caught:
        locate("trianer.Trainer", [tmp_path])
    assert str(tmp_path) in str(caught.value)


def test_missing_attribute_is_told_with_near_names(tmp_path: Path) -> None:
    write(tmp_path, "trainer.py", "class Trainer: pass")
    with pytest.raises(RequestError, match=r"has no 'Trainr'; did you mean 'Trainer'\?"):
        locate("trainer.Trainr", [tmp_path])
    with pytest.raises(
        RequestError, match=r"module 'torch'.* has no 'optm'; did you mean 'optim'\?"
    ):
        locate("torch.optm.Adam")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "x = 1\ny = unknown_name",
            r"NameError: name 'unknown_name' is not defined \(.*broken.py, line 2\)",
        ),
        ("x = 1\n\nraise SystemExit(3)", r"SystemExit: 3 \(.*broken.py, line 3\)"),
        ("def f(:\n  pass", r"SyntaxError: .*\(.*broken.py, line 1\)"),
        (
            "import not_there_at_all",
            r"ModuleNotFoundError: No module named 'not_there_at_all' \(.*broken.py, line 1\)",
        ),
        ("class Odd(BaseException): pass\nraise Odd", r"Odd \(.*broken.py, line 2\)"),
        ("import json\njson.loads('{')", r"JSONDecodeError: .* \(.*broken.py, line 2\)"),
        ("def f(): f()\nf()", r"RecursionError: .*broken.py"),
    ],
)
def test_failing_import_is_told_with_file_and_line(tmp_path: Path, code: str, message: str) -> None:
    write(tmp_path, "broken.py", code)
    with pytest.raises(RequestError, match=f"cannot import 'broken': {message}"):
        locate("broken.Thing", [tmp_path])


def test_failing_import_is_tried_again(tmp_path: Path) -> None:
    file = write(tmp_path, "mended.py", "raise ValueError")
    with pytest.raises(RequestError, match="ValueError"):
        locate("mended.THING", [tmp_path])
    file.write_text("THING = 'a longer text than before'")
    assert locate("mended.THING", [tmp_path]).startswith("a longer")


def test_interrupt_is_not_swallowed(tmp_path: Path) -> None:
    write(tmp_path, "interrupted.py", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        locate("interrupted.Thing", [tmp_path])
