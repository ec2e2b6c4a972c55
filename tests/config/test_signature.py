from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest
import torch

from audiozen.config.signature import parameters_through_bases, signature_problems

if TYPE_CHECKING:
    from nowhere import Nothing  # an annotation that cannot be evaluated


class Encoder(torch.nn.Module):
    def __init__(
        self,
        width: int,
        kind: Literal["gru", "lstm"] = "gru",
        other: Nothing = None,
        *,
        eps: float = 1e-8,
    ) -> None:
        super().__init__()


class OpenEncoder(Encoder):
    def __init__(self, depth: int = 1, **kwargs: object) -> None:
        super().__init__(**kwargs)


def test_right_arguments_have_no_problem() -> None:
    assert signature_problems(Encoder, {"width": 3, "kind": "lstm", "eps": 1, "other": 3}) == []


def test_each_problem_has_a_sentence() -> None:
    assert signature_problems(Encoder, {"kind": "gur", "epz": 1, "eps": "small"}) == [
        "unknown key epz; did you mean 'eps'?",
        "kind: expected one of 'gru', 'lstm', got 'gur'",
        "eps: expected a number, got 'small'",
        "width: missing, and it has no default",
    ]


def test_annotation_that_cannot_be_evaluated_hides_no_other() -> None:
    assert signature_problems(Encoder, {"width": "x", "other": "x"}) == [
        "width: expected an integer, got 'x'"
    ]


def test_offered_value_is_not_missing() -> None:
    assert signature_problems(Encoder, {}, offered=["width", "sample_rate"]) == []


def test_open_signature_takes_unknown_keys() -> None:
    assert signature_problems(OpenEncoder, {"width": 3}) == []
    assert signature_problems(OpenEncoder, {"depth": "x"}) == [
        "depth: expected an integer, got 'x'"
    ]


def test_positional_arguments_are_not_missing_and_not_keys() -> None:
    assert (
        signature_problems(torch.optim.Adam, {"lr": 0.1, "betas": [0.9, 0.99]}, num_positional=1)
        == []
    )
    (problem,) = signature_problems(torch.optim.Adam, {"params": []}, num_positional=1)
    assert problem.startswith("unknown key params; ")


@pytest.mark.parametrize("target", [dict, torch.tanh, torch.nn.functional.conv1d])
def test_target_without_signature_is_not_judged(target: object) -> None:
    assert signature_problems(target, {"whatever": 1}, allow_missing=True) == []  # type: ignore[arg-type]


def test_parameters_of_bases_are_found_through_kwargs() -> None:
    parameters, is_open = parameters_through_bases(OpenEncoder)
    assert set(parameters) == {"depth", "width", "kind", "other", "eps"}
    assert not is_open


def test_misspelt_argument_is_one_problem_and_not_a_missing_one_besides():
    def scale(gain: float, offset: float): ...

    assert signature_problems(scale, {"gian": 1.0}) == [
        "unknown key gian; did you mean 'gain'?",
        "offset: missing, and it has no default",
    ]
