"""A sweep from its two files to what came of it.

::

    study = search(Path("baseline.toml"), [], Path("sweep.toml"), 20, sampler="tpe", pruner="median", seed=0)
    print(outcome_of(study))
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiozen.config.reader import read_config
from audiozen.durable_files import replace_file
from audiozen.sweep.entries import DONE, entries_of, importance_of, records_of
from audiozen.sweep.fit import first_experiment
from audiozen.sweep.plan import plan_of
from audiozen.sweep.plot import plot
from audiozen.sweep.space import as_overrides, read_space, trials_of
from audiozen.sweep.study import Study
from audiozen.sweep.text import format_entries, format_importance
from audiozen.sweep.worker import work
from audiozen.tables.files import write_csv

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from audiozen.sweep.entries import Entry


def search(
    config: Path,
    overrides: Sequence[str],
    space_file: Path,
    num_trials: int,
    *,
    say: Callable[[str], object] = print,
    **how: Any,
) -> Study:
    """Make trials until there are enough: begin a sweep, go on with one, or join one.

    Args:
        config: the experiment's file.
        overrides: ``key=value`` each, of all trials.
        space_file: what is tried.
        num_trials: of all workers together, ever.
        say: tells people a line.
        how: ``sampler``, ``pruner`` and ``seed``, as for :class:`audiozen.sweep.plan.Plan`.

    Raises:
        RequestError: the experiment or the space is wrong, or the folder is that of another sweep.
        Preempted: a signal asked to stop, and everything is saved.
        AudioZENError: trials have failed, and none has succeeded.
    """
    space = read_space(space_file)
    experiment = first_experiment(config, overrides, space, space_file)
    folder = sweep_folder(experiment.exp_dir, space_file)
    study = Study(folder, plan_of(experiment, space, **how))
    say(f"sweep in {folder}: {len(study.trials)} of {num_trials} trials are there")
    work(study, config, overrides, num_trials, say=say, after_trial=lambda: write_files(study))
    return study


def find_study(config: Path, overrides: Sequence[str], space_file: Path) -> Study:
    """The study of a sweep that was begun. Runs nobody's code.

    Raises:
        RequestError: there is none.
    """
    first = as_overrides(next(trials_of(read_space(space_file))))
    resolved = read_config(config, [*overrides, *first], check_code=False)
    meta = resolved.config.meta
    exp_dir = Path(meta.save_dir) / (meta.exp_id or resolved.source.stem)
    return Study(sweep_folder(exp_dir, space_file))


def sweep_folder(exp_dir: Path, space_file: Path) -> Path:
    """Where the trials of an experiment are: of each space in a folder of its own.

    >>> sweep_folder(Path("exp/baseline"), Path("recipe/sweep.toml")).as_posix()
    'exp/baseline_sweep'
    """
    return exp_dir.with_name(f"{exp_dir.name}_{space_file.stem}")


def write_files(study: Study) -> list[Entry]:
    """Write table and picture of the trials as they are now."""
    entries = entries_of(study)
    write_csv(study.folder / "sweep.csv", records_of(entries))
    replace_file(study.folder / "sweep.svg", plot(entries, study.plan).encode())
    return entries


def outcome_of(study: Study) -> str:
    """The trials as a table, and what matters among the settings."""
    importance = importance_of(study)
    table = format_entries(entries_of(study), study.plan)
    return f"{table}\n\n{format_importance(importance)}" if importance else table


def advice_on(study: Study) -> list[str]:
    """Where table and picture are, and how to train on with the best."""
    done = [entry for entry in write_files(study) if entry.state == DONE]
    lines = [f"plot: {study.folder / 'sweep.svg'}, table: {study.folder / 'sweep.csv'}"]
    if done:
        lines.append(f"train the best for longer: {longer(study, done[0])}")
    return lines


def longer(study: Study, best: Entry) -> str:
    """The command that trains with the settings of a trial, twice as long."""
    settings = study.plan.settings
    limits = [f"trainer.args.{name}" for name in ("max_epochs", "max_steps")]
    overrides = [f"{key}={2 * settings[key]}" for key in limits if settings.get(key)]
    config = study.folder / best.name / "config.toml"
    place = f"meta.save_dir={study.folder.parent} meta.exp_id={study.folder.name}_best"
    return " ".join(["audiozen train", str(config), place, *overrides])
