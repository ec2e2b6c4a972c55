"""Everything that is wrong with the tables of an experiment, found before any data is touched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from audiozen.config.combinations import combination_problems
from audiozen.config.old_code import old_code_problems, old_path_problems
from audiozen.config.old_names import VALUES, Now, old_setting
from audiozen.config.problems import Problem, suggestion
from audiozen.config.schema import AcousticsConfig, ExperimentConfig, TrainerConfig
from audiozen.config.settings import is_named, kinds_of, settings_problems
from audiozen.config.signature import missing, mistyped, parameters_through_bases
from audiozen.config.targets import (
    Surroundings,
    locate_callable,
    nested_problems,
    problem_of,
    target_problems,
)
from audiozen.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from audiozen.config.problems import Place

Tables = dict[str, Any]

MISSING = "missing, and it has no default"

# What each trainer is constructed with. The rest of [trainer.args] that is no setting goes to the recipe's own class.
TRAINER_ARGUMENTS = frozenset(
    {
        "model",
        "optimizer",
        "loss_function",
        "lr_scheduler",
        "config",
        "exp_dir",
        "resume",
        "acoustics",
    }
)


def all_problems(
    tables: Tables, search_dirs: tuple[Path, ...], *, check_code: bool
) -> list[Problem]:
    """Everything that is wrong; what only has an old name is told by its new one.

    Args:
        tables: as they were merged.
        search_dirs: folders in which paths are looked up before the installed packages.
        check_code: also import what the paths name, and read the recipe's own files.
    """
    problems = setting_problems(tables)
    if check_code:
        problems += code_problems(tables, search_dirs)
    old_paths = old_path_problems(tables)
    problems = [*old_paths, *_other_than(old_paths, problems)]
    old = {problem: now for problem in problems if (now := _new_name(problem))}
    is_old = bool(old or old_paths)
    problems = _with_new_names(problems, old) + (_epoch_wise(tables) if is_old else [])
    if check_code:
        problems += old_code_problems(tables, search_dirs, is_old=is_old)
    return problems


def setting_problems(tables: Tables) -> list[Problem]:
    """Unknown, missing, mistyped and senseless settings. Runs nobody's code."""
    args = _args(tables.get("trainer"))
    known = {key: value for key, value in args.items() if key in kinds_of(TrainerConfig)}
    return [
        *settings_problems(ExperimentConfig, tables),
        *settings_problems(TrainerConfig, known, ("trainer", "args")),
        *combination_problems(tables),
    ]


def code_problems(tables: Tables, search_dirs: tuple[Path, ...]) -> list[Problem]:
    """Paths that lead nowhere, and arguments that do not fit. Imports the modules that the paths name."""
    offered = kinds_of(AcousticsConfig) if isinstance(tables.get("acoustics"), dict) else ()
    around, nothing_offered = Surroundings(search_dirs, offered), Surroundings(search_dirs)
    problems = _trainer_problems(tables.get("trainer"), around)
    for place, table in _targets(tables, "model"):
        problems += target_problems(table, place, around)
    for place, table in _targets(tables, "loss_function"):
        problems += target_problems(table, place, around, is_bound=True, num_positional=2)
    for name in ("optimizer", "lr_scheduler"):
        for place, table in _targets(tables, name):
            problems += target_problems(table, place, nothing_offered, num_positional=1)
    for place, table in _datasets(tables):
        problems += target_problems(table, place, around)
        problems += _collate_problems(table.get("dataloader"), (*place, "dataloader"), around)
    return problems


def _trainer_problems(table: object, around: Surroundings) -> list[Problem]:
    """As for other targets, but some of the arguments are settings, and some come from the experiment."""
    if not isinstance(table, dict) or not isinstance(table.get("path"), str):
        return []
    args = _args(table)
    extras = {key: value for key, value in args.items() if key not in kinds_of(TrainerConfig)}
    nested = nested_problems(extras, ("trainer", "args"), around)
    try:
        cls = locate_callable(table["path"], around.search_dirs)
    except RequestError as error:
        return [Problem(("trainer", "path"), f"path: {error}"), *_misspelt(extras), *nested]
    if not isinstance(cls, type):
        text = f"path: {table['path']!r} is a function; a trainer is a class made of BaseTrainer"
        return [Problem(("trainer", "path"), text), *nested]
    return _constructor_problems(cls, table["path"], extras, around) + nested


def _constructor_problems(
    cls: type, path: str, extras: dict[str, Any], around: Surroundings
) -> list[Problem]:
    parameters, is_open = parameters_through_bases(cls)
    refused = sorted(TRAINER_ARGUMENTS - parameters.keys())
    if refused and not is_open:
        text = (
            f"path: the constructor of {path} takes no {refused[0]!r}, which each trainer is given"
        )
        return [Problem(("trainer", "path"), f"{text}; add **kwargs and pass them to super()")]
    own = {name: item for name, item in parameters.items() if name not in TRAINER_ARGUMENTS}
    sentences = [_unknown(key, own) for key in extras if key not in own]
    sentences += mistyped(cls, {key: extras[key] for key in extras if key in own})
    sentences += missing(own, {*extras, *around.offered})
    return [problem_of(("trainer", "args"), sentence) for sentence in sentences]


def _misspelt(extras: dict[str, Any]) -> list[Problem]:
    """Without the class, a key is only wrong where it looks like a setting, or was one."""
    problems = {key: problem_of(("trainer", "args"), _unknown(key, ())) for key in extras}
    return [
        problem
        for key, problem in problems.items()
        if "did you mean" in problem.text or old_setting(f"[trainer.args] {key}")
    ]


def _unknown(key: str, own: Any) -> str:
    known = {*own, *kinds_of(TrainerConfig)}
    near = suggestion(key, known, what="known keys")
    return f"unknown key {key}; {near}"


# ---- old names ---------------------------------------------------------------------------------


def _new_name(problem: Problem) -> Now | None:
    """What has become of a setting that is unknown."""
    found = old_setting(_in_words(problem.place)) if problem.text.startswith("unknown ") else None
    return found[1] if found else None


def _other_than(told: list[Problem], problems: list[Problem]) -> Iterator[Problem]:
    places = {problem.place for problem in told}
    return (problem for problem in problems if problem.place not in places)


def _with_new_names(problems: list[Problem], old: dict[Problem, Now]) -> list[Problem]:
    """Those that are old by their new names. That these are missing is no problem of its own."""
    names = {now.name for now in old.values()}
    return [
        _told(problem, old.get(problem))
        for problem in problems
        if not (problem.text.endswith(MISSING) and _is_among(names, problem.place))
    ]


def _told(problem: Problem, now: Now | None) -> Problem:
    if now is None:
        note = VALUES.get(_in_words(problem.place))
        return problem._replace(text=f"{problem.text}; {note}") if note else problem
    is_table = len(problem.place) == 1
    return problem._replace(text=str(now) if is_table else f"{problem.place[-1]}: {now}")


def _is_among(names: set[str], place: Place) -> bool:
    """Whether a setting, or one in a table, is among those that are stated by old names."""
    words = _in_words(place)
    return any(name == words or name.startswith(f"{words[:-1]}.") for name in names)


def _in_words(place: Place) -> str:
    *tables, key = map(str, place)
    return f"[{'.'.join(tables)}] {key}" if tables else f"[{key}]"


def _epoch_wise(tables: Tables) -> list[Problem]:
    """Schedules of old recipes advance once per epoch, which must be stated now."""
    if "lr_scheduler_interval" in _args(tables.get("trainer")):
        return []
    text = (
        'advanced once per epoch; for that, state lr_scheduler_interval = "epoch" in [trainer.args]'
    )
    places = [(name, "path") for name in tables if name.split("_")[:2] == ["lr", "scheduler"]]
    return [Problem(place, f"path: {text}") for place in places[:1]]


def _collate_problems(table: object, place: Place, around: Surroundings) -> list[Problem]:
    path = table.get("collate_fn") if isinstance(table, dict) else None
    if not isinstance(path, str):
        return []
    try:
        locate_callable(path, around.search_dirs)
    except RequestError as error:
        return [Problem((*place, "collate_fn"), f"collate_fn: {error}")]
    return []


def _targets(tables: Tables, name: str) -> Iterator[tuple[Place, Tables]]:
    """The one target of a table, or its named ones."""
    table = tables.get(name)
    if is_named(table):
        assert isinstance(table, dict)
        yield from (((name, key), inner) for key, inner in table.items())
    elif isinstance(table, dict):
        yield (name,), table


def _datasets(tables: Tables) -> Iterator[tuple[Place, Tables]]:
    yield from _targets(tables, "train_dataset")
    for name in ("validate_dataset", "test_dataset"):
        items = tables.get(name)
        for index, table in enumerate(items if isinstance(items, list) else []):
            if isinstance(table, dict):
                yield (name, index), table


def _args(table: object) -> dict[str, Any]:
    args = table.get("args") if isinstance(table, dict) else None
    return args if isinstance(args, dict) else {}
