"""The trackers of a run that names none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audiozen.tracking.jsonl import JsonlTracker
from audiozen.tracking.tensorboard import TensorBoardTracker
from audiozen.tracking.tracker import Trackers

if TYPE_CHECKING:
    from pathlib import Path


def default_tracker(exp_dir: Path) -> Trackers:
    """``metrics/metrics.jsonl`` and TensorBoard files in ``tb``, both in ``exp_dir``."""
    return Trackers(
        [JsonlTracker(exp_dir / "metrics" / "metrics.jsonl"), TensorBoardTracker(exp_dir / "tb")]
    )
