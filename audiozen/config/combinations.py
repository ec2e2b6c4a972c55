"""Settings that are right alone and wrong together. Works on raw tables, so that one mistake does not hide another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from audiozen.config.problems import Problem, suggestion
from audiozen.config.settings import is_named

if TYPE_CHECKING:
    from collections.abc import Callable

Tables = dict[str, Any]


def combination_problems(tables: Tables) -> list[Problem]:
    """What does not fit together in the tables of an experiment."""
    return [problem for check in _CHECKS for problem in check(tables)]


def _seeds(tables: Tables) -> list[Problem]:
    """What both ``[meta]`` and ``[trainer.args]`` state must be the same."""
    meta, args = _table(tables, "meta"), _table(tables, "trainer", "args")
    return [
        Problem(
            ("trainer", "args", key),
            f"{key}: {args[key]!r} here and {meta[key]!r} in [meta]; state it once, in [meta]",
        )
        for key in ("seed", "deterministic")
        if key in meta and key in args and meta[key] != args[key]
    ]


def _patience(tables: Tables) -> list[Problem]:
    if "patience" not in _table(tables, "trainer", "args") or tables.get("validate_dataset"):
        return []
    text = "patience: counts validations, and there is no [[validate_dataset]]; add one"
    return [Problem(("trainer", "args", "patience"), text)]


def _optimizers(tables: Tables) -> list[Problem]:
    if "optimizer" not in tables or not is_named(tables["optimizer"]):
        return []
    return _partners(tables, "optimizer", "model")


def _schedules(tables: Tables) -> list[Problem]:
    if "lr_scheduler" not in tables:
        return []
    if "optimizer" not in tables:
        return [Problem(("lr_scheduler",), "needs an [optimizer], and there is none; add one")]
    if is_named(tables["lr_scheduler"]):
        return _partners(tables, "lr_scheduler", "optimizer")
    if is_named(tables["optimizer"]):
        names = " or ".join(f"[lr_scheduler.{name}]" for name in tables["optimizer"])
        return [Problem(("lr_scheduler",), f"there are several optimizers; write {names}")]
    return []


def _partners(tables: Tables, table: str, partner: str) -> list[Problem]:
    """Each named target of ``table`` needs a partner of its name."""
    others = tables.get(partner)
    if not is_named(others):
        text = f"its names need [{partner}] tables of the same names; there is one [{partner}]"
        return [Problem((table,), text)] if others else []
    assert isinstance(others, dict)
    return [
        Problem((table, name), f"{name}: no [{partner}.{name}]; {suggestion(name, others)}")
        for name in tables[table]
        if name not in others
    ]


def _dataset_names(tables: Tables) -> list[Problem]:
    return [
        Problem((table, index, "name"), f"name: {name!r} is taken by an earlier [[{table}]]")
        for table in ("validate_dataset", "test_dataset")
        for index, name in _repeated(tables.get(table))
    ]


def _repeated(datasets: object) -> list[tuple[int, str]]:
    """Index and name of each dataset that is called like an earlier one."""
    if not isinstance(datasets, list):
        return []
    names = [
        str(item.get("name", i)) if isinstance(item, dict) else ""
        for i, item in enumerate(datasets)
    ]
    return [(index, name) for index, name in enumerate(names) if name and name in names[:index]]


def _table(tables: Tables, *keys: str) -> Tables:
    """The table at a place, empty where there is none."""
    found: Any = tables
    for key in keys:
        found = found.get(key, {}) if isinstance(found, dict) else {}
    return found if isinstance(found, dict) else {}


_CHECKS: tuple[Callable[[Tables], list[Problem]], ...] = (
    _seeds,
    _patience,
    _optimizers,
    _schedules,
    _dataset_names,
)
