from __future__ import annotations

import textwrap
from fractions import Fraction
from typing import TYPE_CHECKING

import pytest
import torch

from audiozen.config.instantiate import bind, instantiate
from audiozen.errors import ConfigError, RequestError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    code = """
        class Inner:
            def __init__(self, width: int, sample_rate: int = 8000):
                if width < 0:
                    raise ValueError("negative width")
                self.width, self.sample_rate = width, sample_rate

        class Outer:
            def __init__(self, inner, others=(), table=None, n_fft=0):
                self.inner, self.others, self.table, self.n_fft = inner, others, table, n_fft
    """
    (tmp_path / "pieces.py").write_text(textwrap.dedent(code))
    return tmp_path


def test_path_and_args_become_an_object() -> None:
    assert instantiate("fractions.Fraction", {"numerator": 3, "denominator": 6}) == Fraction(1, 2)


def test_positional_arguments_come_first() -> None:
    parameters = torch.nn.Linear(2, 2).parameters()
    optimizer = instantiate("torch.optim.SGD", {"lr": 0.5}, parameters)
    assert optimizer.defaults["lr"] == 0.5


def test_nested_targets_are_built_first(recipe: Path) -> None:
    args = {
        "inner": {"path": "pieces.Inner", "args": {"width": 1}},
        "others": [{"path": "pieces.Inner", "args": {"width": 2}}],
        "table": {"a": {"path": "pieces.Inner", "args": {"width": 3}}, "b": 4},
    }
    outer = instantiate("pieces.Outer", args, search_dirs=[recipe])
    assert outer.inner.width == 1
    assert outer.others[0].width == 2
    assert outer.table["a"].width == 3
    assert outer.table["b"] == 4
    assert isinstance(args["inner"], dict)


def test_offered_values_go_where_they_are_named(recipe: Path) -> None:
    args = {"inner": {"path": "pieces.Inner", "args": {"width": 1}}}
    offered = {"sample_rate": 16000, "n_fft": 512}
    outer = instantiate("pieces.Outer", args, search_dirs=[recipe], offered=offered)
    assert (outer.n_fft, outer.inner.sample_rate) == (512, 16000)
    assert not hasattr(outer, "sample_rate")


def test_stated_argument_wins_over_offered_one(recipe: Path) -> None:
    args = {"width": 1, "sample_rate": 44100}
    inner = instantiate("pieces.Inner", args, search_dirs=[recipe], offered={"sample_rate": 16000})
    assert inner.sample_rate == 44100


def test_problems_of_nested_targets_are_told_before_anything_is_built(recipe: Path) -> None:
    args = {
        "innr": 1,
        "others": [{"path": "pieces.Inner", "args": {"width": "x"}}, {"path": "pieces.Iner"}],
        "table": {"path": "pieces.Inner", "arg": {}},
    }
    with pytest.raises(ConfigError) as caught:
        instantiate("pieces.Outer", args, search_dirs=[recipe])
    text = str(caught.value)
    assert "[args] unknown key innr; did you mean 'inner'?" in text
    assert "[args] inner: missing" not in text
    assert "[args.others.0.args] width: expected an integer, got 'x'" in text
    assert "[args.others.1] path: module 'pieces'" in text
    assert "[args.table] unknown key arg; did you mean 'args'?" in text
    assert "[args.table.args] width: missing" in text


def test_failing_constructor_is_told_with_file_and_line(recipe: Path) -> None:
    message = r"pieces.Inner failed: ValueError: negative width \(.*pieces.py, line 5\)"
    with pytest.raises(RequestError, match=message) as caught:
        instantiate("pieces.Inner", {"width": -1}, search_dirs=[recipe])
    assert isinstance(caught.value.__cause__, ValueError)


def test_what_cannot_be_called_is_refused() -> None:
    with pytest.raises(RequestError, match=r"'math\.pi' is of type float, not a class or function"):
        instantiate("math.pi")


def test_function_is_bound_and_class_is_built() -> None:
    loss = bind(torch.nn.functional.l1_loss, {"reduction": "sum"}, path="x.y")
    assert loss(torch.zeros(3), torch.ones(3)) == 3
    assert bind(torch.nn.functional.l1_loss, {}, path="x.y") is torch.nn.functional.l1_loss
    assert isinstance(bind(torch.nn.L1Loss, {}, path="x.y"), torch.nn.L1Loss)
