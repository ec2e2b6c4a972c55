"""Whether an experiment takes what a sweep would try."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audiozen.errors import ConfigError
from audiozen.experiment import Experiment
from audiozen.sweep.space import as_overrides, trials_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from audiozen.sweep.space import Space


def first_experiment(
    config: Path, overrides: Sequence[str], space: Space, source: Path
) -> Experiment:
    """The experiment with the first value of everything in the space; all other values were tried as well.

    Args:
        config: the experiment's file.
        overrides: ``key=value`` each, of all trials.
        space: what is varied.
        source: its file.

    Raises:
        RequestError: there is no such experiment.
        ConfigError: what the experiment does not take, one line each.
    """
    problems = _varied_and_fixed(overrides, space)
    first = None
    for values in trials_of(space):
        try:
            experiment = Experiment.from_file(config, [*overrides, *as_overrides(values)])
            first = first or experiment
        except ConfigError as error:
            problems += [problem for problem in error.problems if problem not in problems]
    if first is not None and not first.config.validate_dataset:
        problems.append("[validate_dataset] missing; trials are compared by their validation score")
    if first is not None and first.config.train_dataset is None:
        problems.append("[train_dataset] missing; there is nothing to train on")
    if problems or first is None:
        raise ConfigError(f"{config} with the values of {source}", problems)
    return first


def _varied_and_fixed(overrides: Sequence[str], space: Space) -> list[str]:
    fixed = {text.partition("=")[0].strip() for text in overrides}
    return [f"{key}: an override and in the space; leave one out" for key in space if key in fixed]
