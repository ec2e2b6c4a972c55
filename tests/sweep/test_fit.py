from __future__ import annotations

import pytest

from audiozen.errors import ConfigError
from audiozen.sweep.fit import first_experiment
from audiozen.sweep.space import Choices, Range, Space

LR = {"optimizer.args.lr": Range(low=1e-3, high=1e-1)}


def problems(recipe, space: Space, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError, match="with the values of ") as caught:
        first_experiment(recipe.config, overrides, space, recipe.space)
    return caught.value.problems


def test_experiment_has_the_first_values(recipe) -> None:
    experiment = first_experiment(recipe.config, [], LR, recipe.space)
    assert experiment.config.optimizer.args["lr"] == 1e-3


def test_all_that_does_not_fit_is_told_whichever_value_it_is_of(recipe) -> None:
    found = problems(
        recipe,
        {
            "optimizer.args.lrr": Range(low=1e-3, high=1e-1),
            "trainer.args.max_epochs": Range(low=0, high=3),
            "train_dataset.args.num_signals": Choices([4, "many"]),
        },
    )
    assert len(found) == 3, found
    for problem, text in zip(found, ["max_epochs", "lrr", "num_signals"]):
        assert text in problem


def test_second_choice_that_does_not_fit_is_found(recipe) -> None:
    (problem,) = problems(recipe, {"trainer.args.precision": Choices(["fp32", "fp8"])})
    assert "'fp8'" in problem


def test_setting_that_is_fixed_as_well_is_refused(recipe) -> None:
    (problem,) = problems(recipe, LR, "optimizer.args.lr=0.1")
    assert problem == "optimizer.args.lr: an override and in the space; leave one out"


def test_trials_need_a_validation(recipe) -> None:
    text = recipe.config.read_text()
    recipe.config.write_text(text[: text.index("[[validate_dataset]]")])
    (problem,) = problems(recipe, LR)
    assert problem.startswith("[validate_dataset] missing")
