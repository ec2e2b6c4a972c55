"""One run, read from its folder.

::

    run = Run("exp/baseline")
    run.state, run.best_score
    run.tables()["test"][0]["si_sdr"]
"""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiozen.durable_files import target_of
from audiozen.errors import AudioZENError, RequestError
from audiozen.run_folder import ENHANCED, RunFolder
from audiozen.system.files import READ
from audiozen.system.locks import is_locked
from audiozen.tables.files import read_csv
from audiozen.tracking.jsonl import read_metrics

if TYPE_CHECKING:
    from audiozen.tables.records import Value

__all__ = ["Run", "find_runs", "is_run"]

Record = dict[str, "Value"]

RUNNING, DONE, STOPPED, FAILED, NEW = "running", "done", "stopped", "failed", "new"


class Run:
    """What is in the folder of a run. Nothing is changed, and each file is read when it is asked for.

    A file that is not there is as if it were empty: a run may have been stopped at any time, or be running.

    Args:
        root: ``exp/<exp_id>``.

    Raises:
        RequestError: it is no folder, or nothing in it is of a run.
    """

    def __init__(self, root: str | Path) -> None:
        self.folder = RunFolder(root)
        self.root = self.folder.root
        if not self.root.is_dir():
            raise RequestError(
                f"{root}: no such folder; expected that of a run, such as exp/my_run"
            )
        if not is_run(self.root):
            runs = sorted(
                str(path) for path in self.root.iterdir() if path.is_dir() and is_run(path)
            )
            hint = f"; in it there are {', '.join(runs[:3])}" if runs else ""
            raise RequestError(
                f"{root} is not the folder of a run: it has neither config.toml, metrics nor checkpoints{hint}"
            )

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.root.resolve().name

    # ---- settings and circumstances ------------------------------------------------------

    @property
    def config(self) -> dict[str, Any]:
        """The settings as run, as tables."""
        try:
            return tomllib.loads(self.folder.config.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise AudioZENError(f"{self.folder.config} cannot be read: {error}") from error

    @property
    def environment(self) -> dict[str, Any]:
        """``time``, ``host``, ``packages``, ``git``, ``argv`` and more of the last start."""
        return _read_json(self.folder.environment)

    @property
    def complexity(self) -> dict[str, Any]:
        """Parameters, multiply-accumulates, latency; as far as they were measured."""
        return _read_json(self.folder.complexity)

    @property
    def status(self) -> dict[str, Any]:
        """``state``, ``started``, ``ended`` and ``message`` of the last start, as written by the run itself."""
        return _read_json(self.folder.status)

    @property
    def state(self) -> str:
        """``running``, ``done``, ``stopped`` (resume to go on), ``failed`` (also: killed) or ``new``.

        Not to be asked in the process that trains there: looking at a lock ends the locks of one's own process.
        """
        is_held = _is_held(self.folder.lock)
        if is_held:
            return RUNNING
        stated = str(self.status.get("state", NEW))
        could_not_say_how_it_ended = stated == RUNNING and is_held is False
        return FAILED if could_not_say_how_it_ended else stated

    # ---- training ------------------------------------------------------------------------

    @property
    def higher_is_better(self) -> bool:
        """Direction of the score."""
        return bool(self._trainer_args.get("higher_is_better", True))

    @property
    def best_metric(self) -> str | None:
        """Metric that decides the best checkpoint; None where it is not stated."""
        metric = self._trainer_args.get("best_metric")
        return None if metric is None else str(metric)

    @property
    def _trainer_args(self) -> dict[str, Any]:
        trainer = self.config.get("trainer", {})
        args = trainer.get("args", {}) if isinstance(trainer, dict) else None
        if not isinstance(args, dict):
            raise AudioZENError(f"{self.folder.config}: [trainer.args] is no table")
        return args

    @property
    def step(self) -> int | None:
        """Steps in the newest checkpoint."""
        return self._whole_number_of_latest("step")

    @property
    def epoch(self) -> int | None:
        """Epoch of the newest checkpoint."""
        return self._whole_number_of_latest("epoch")

    def _whole_number_of_latest(self, key: str) -> int | None:
        manifest = target_of(self.folder.checkpoints / "latest") / "manifest.json"
        number = _read_json(manifest).get(key)
        if isinstance(number, int) or number is None:
            return number
        raise AudioZENError(f"{manifest}: {key} is no whole number")

    @property
    def best_checkpoint(self) -> str | None:
        """Name of the checkpoint with the best score."""
        best = target_of(self.folder.checkpoints / "best")
        return best.name if best.exists() else None

    @property
    def best_score(self) -> float | None:
        """Score of the best checkpoint."""
        best = target_of(self.folder.checkpoints / "best")
        outcome = _read_json(best / "validation.json").get("outcome")
        score = outcome.get("score") if isinstance(outcome, dict) else None
        return float(score) if isinstance(score, (int, float)) else None

    def scalars(self) -> list[dict[str, Any]]:
        """Rows of ``metrics.jsonl``: ``step``, ``epoch``, ``time`` and numbers by name."""
        return read_metrics(self.folder.scalars) if self.folder.scalars.is_file() else []

    # ---- evaluation ----------------------------------------------------------------------

    def tables(self, stage: str = "test") -> dict[str, list[Record]]:
        """Records of each dataset, one per signal.

        Args:
            stage: ``test``, or ``valid``: that of the best checkpoint.
        """
        name = stage if stage == "test" else f"{stage}_{self.best_checkpoint}"
        return {dataset: read_csv(path) for dataset, path in self.folder.tables(name).items()}

    def sounds(self, signal_id: str, dataset: str | None = None) -> dict[str, Path]:
        """Files of one test signal by role, as far as they are there: noisy, enhanced, clean, then all others.

        Args:
            signal_id: as in the table.
            dataset: as :meth:`tables` calls it; also where there is only one.
        """
        found: dict[str, Path] = {}
        for role in self.folder.roles():
            for path in (
                self.folder.sound(role, signal_id, dataset),
                self.folder.sound(role, signal_id),
            ):
                if path.is_file():
                    found.setdefault(role, path)
        order = {"mixture": 0, "noisy": 0, ENHANCED: 1, "clean": 2}
        return dict(sorted(found.items(), key=lambda item: (order.get(item[0], 3), item[0])))


def is_run(root: Path) -> bool:
    """Whether something in a folder is of a run."""
    folder = RunFolder(root)
    marks = (folder.config, folder.status, folder.scalars, folder.checkpoints)
    return any(mark.exists() for mark in marks) or bool(folder.tables("test"))


def find_runs(root: str | Path) -> list[Run]:
    """All runs in a folder and the folders below it, by path; the folder itself may be one.

    Passed over are folders that are hidden, links, or cannot be looked into, and what lies in the folder of a run.

    Raises:
        RequestError: there is no such folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise RequestError(
            f"{root}: no such folder; expected one with the folders of runs, such as exp"
        )
    return [Run(folder) for folder in sorted(_folders_of_runs(root))]


def _folders_of_runs(root: Path) -> list[Path]:
    try:
        if is_run(root):
            return [root]
        below = [path for path in root.iterdir() if path.is_dir() and not path.is_symlink()]
    except OSError:  # it cannot be looked into, or is being deleted
        return []
    seen = [path for path in below if not path.name.startswith(".")]
    return [folder for path in seen for folder in _folders_of_runs(path)]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise AudioZENError(f"{path} cannot be read: {error}") from error
    return content if isinstance(content, dict) else {}


def _is_held(path: Path) -> bool | None:
    """Whether another process holds the lock of a run; None where that cannot be found out."""
    try:
        descriptor = os.open(path, READ)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        return is_locked(descriptor)
    except OSError:  # a file system without locks
        return None
    finally:
        os.close(descriptor)
