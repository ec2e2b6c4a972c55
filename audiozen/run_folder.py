"""Where things lie in the folder of a run. Knows names, and nothing of what is in the files.

::

    exp/my_run/
    ├── config.toml, environment.json, status.json, complexity.json
    ├── checkpoints/
    ├── metrics/    metrics.jsonl; valid_<checkpoint>.csv and test.csv, with _<dataset> where there are several
    ├── enhanced/   what the model made of the test signals: <id>.wav, in a folder per dataset where there are several
    ├── sounds/     what else belongs to them, by role, in the same order: noisy/<id>.wav, clean/<id>.wav
    ├── tb/, logs/
    ├── profile/    trace.json (or .gz), operators.txt: where the time of a few steps goes, with --profile
    └── report/index.html
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["RunFolder", "file_name"]

ENHANCED = "enhanced"
"""The role of what a model makes."""
MAX_BYTES = 200
_DEVICES = r"con|prn|aux|nul|com\d|lpt\d"
"""Which Windows finds in any folder, whatever the extension."""
_FORBIDDEN = re.compile(
    rf'[%/\\:*?"<>|\x00-\x1f\x7f]|^\.|[. ]\Z|^(?=({_DEVICES})(\.|\Z)).', re.IGNORECASE
)
_STEP = re.compile(r"step_\d{8}(_|$)")


class RunFolder:
    """Paths in the folder of one run.

    Args:
        root: ``exp/<exp_id>``. It need not be there.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self.checkpoints = self.root / "checkpoints"
        self.metrics = self.root / "metrics"
        self.enhanced = self.root / ENHANCED
        self.tensorboard = self.root / "tb"
        self.logs = self.root / "logs"
        self.profile = self.root / "profile"
        self.scalars = self.metrics / "metrics.jsonl"
        self.config = self.root / "config.toml"
        self.environment = self.root / "environment.json"
        self.status = self.root / "status.json"
        self.complexity = self.root / "complexity.json"
        self.report = self.root / "report" / "index.html"
        self.lock = self.root / ".lock"

    def table(self, name: str, dataset: str | None = None) -> Path:
        """Table of an evaluation.

        Args:
            name: ``test``, or ``valid_<checkpoint>``.
            dataset: None where there is only one.
        """
        return self.metrics / (f"{name}.csv" if dataset is None else f"{name}_{dataset}.csv")

    def tables(self, name: str) -> dict[str, Path]:
        """Tables of an evaluation that are there, by dataset; one without the name of a dataset is called ``name``.

        Where one dataset was evaluated once, and several another time, those that were written last.
        """
        stems = {
            path.stem.removeprefix(f"{name}_"): path for path in self.metrics.glob(f"{name}_*.csv")
        }
        several = {
            dataset: path
            for dataset, path in sorted(stems.items())
            if not _STEP.match(dataset)  # of a checkpoint inside an epoch
        }
        alone = self.table(name)
        if alone.is_file() and _newest([alone]) >= _newest(several.values()):
            return {name: alone}
        return several

    def sounds(self, role: str, dataset: str | None = None) -> Path:
        """Folder of the signals of one role.

        Args:
            role: ``enhanced``, or any other word, such as ``noisy`` and ``clean``.
            dataset: None where there is only one.
        """
        folder = self.enhanced if role == ENHANCED else self.root / "sounds" / file_name(role)
        return folder if dataset is None else folder / file_name(dataset)

    def sound(self, role: str, signal_id: str, dataset: str | None = None) -> Path:
        """File of one signal."""
        return self.sounds(role, dataset) / f"{file_name(signal_id)}.wav"

    def roles(self) -> list[str]:
        """Roles that there is sound of, ``enhanced`` last."""
        others = self.root / "sounds"
        folders = [path for path in others.glob("*") if path.is_dir()]
        names = sorted(unquote(path.name) for path in folders)
        return [*names, ENHANCED] if self.enhanced.is_dir() else names


def _newest(paths: Iterable[Path]) -> float:
    return max((path.stat().st_mtime for path in paths), default=0.0)


def file_name(text: str) -> str:
    """Any text as the name of a file: what file systems do not take is written as ``%2F``, what is too long is cut.

    >>> file_name("p232/p232_001")
    'p232%2Fp232_001'
    >>> file_name("..")
    '%2E%2E'
    >>> file_name("Aux.1")
    '%41ux.1'
    """
    name = _FORBIDDEN.sub(lambda match: f"%{ord(match[0]):02X}", text) or "%"
    if len(name.encode()) <= MAX_BYTES:
        return name
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    kept = name.encode()[: MAX_BYTES - len(digest) - 1].decode(errors="ignore")
    return f"{kept}-{digest}"
