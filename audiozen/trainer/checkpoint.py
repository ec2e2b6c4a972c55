"""What is on disk: the checkpoints of one run, each complete or absent. Usable without a trainer.

    store = CheckpointStore("exp/my_run/checkpoints")
    store.save("epoch_0001", epoch=1, step=100, models={"": model.state_dict()}, training_state={"lr": 0.1})
    weights = store.load_models(store.find("latest"))[""]

A checkpoint is a folder of safetensors and JSON files::

    epoch_0001/
    ├── model.safetensors              the weights that were evaluated (model.NAME.safetensors for named models)
    ├── training_state.safetensors     what else a run needs to go on: tensors
    ├── training_state.json            and everything that is no tensor
    ├── manifest.json                  sizes and SHA-256 of the files above; written last
    └── validation.json                the outcome of its validation; added when that has ended
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import safetensors.torch
import torch

from audiozen import durable_files
from audiozen.errors import CheckpointError
from audiozen.trainer.serialization import flatten, unflatten

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

logger = logging.getLogger(__name__)

FORMAT = 1
MANIFEST = "manifest.json"
VALIDATION = "validation.json"
TRAINING_STATE = "training_state"


class Moment(NamedTuple):
    """When a checkpoint was taken.

    Attributes:
        name: of its folder.
        epoch: the epoch in progress, or the one that had just ended.
        step: steps made so far.
    """

    name: str
    epoch: int
    step: int


class CheckpointStore:
    """The checkpoints in one folder.

    A checkpoint is written into a hidden folder beside its place, flushed, and renamed when it is complete.
    ``latest`` and
    ``best`` are symbolic links to two of them. What is newest is read from the manifests, not from names or times.

    Args:
        root: folder of the checkpoints; made at the first save.
        max_num_checkpoints: how many of the newest to keep. The best one is kept besides.
    """

    def __init__(self, root: str | Path, *, max_num_checkpoints: int = 3) -> None:
        if max_num_checkpoints < 1:
            raise ValueError(f"max_num_checkpoints must be at least 1, got {max_num_checkpoints}")
        self.root = Path(root)
        self.max_num_checkpoints = max_num_checkpoints

    # ---- what is there ----------------------------------------------------------------

    def names(self) -> list[str]:
        """Names of the complete checkpoints, oldest first. One with a damaged manifest is told and left out."""
        moments = []
        for manifest in self.root.glob(f"[!.]*/{MANIFEST}"):
            path = manifest.parent
            if not path.is_symlink():
                try:
                    moments.append(self.read_moment(path))
                except CheckpointError as error:
                    logger.warning("%s is left aside: %s", path, error)
        moments.sort(key=lambda moment: (moment.step, moment.epoch, moment.name))
        return [moment.name for moment in moments]

    def read_moment(self, path: Path) -> Moment:
        """When the checkpoint in a folder was taken.

        Raises:
            CheckpointError: its manifest is missing or damaged.
        """
        manifest = read_json(path / MANIFEST)
        try:
            return Moment(path.name, int(manifest["epoch"]), int(manifest["step"]))
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path / MANIFEST} lacks epoch or step") from error

    def find(self, which: str | Path) -> Path:
        """Folder of a checkpoint.

        Args:
            which: ``"latest"``, ``"best"``, the name of one in this store, or a path to one anywhere.

        Raises:
            CheckpointError: it is not there; the text lists those that are.
        """
        if which == "latest":
            names = self.names()
            candidates = [self.root / names[-1]] if names else []
        else:
            candidates = [self.root / which, Path(which)]
        for path in candidates:
            if (path / MANIFEST).is_file():
                return path.resolve()
        there = ", ".join(self.names()) or "none"
        raise CheckpointError(f"no checkpoint {str(which)!r} in {self.root}; there: {there}")

    def verify(self, path: Path) -> list[str]:
        """What is wrong with a checkpoint: files that are missing, or differ from the manifest. Empty if all
        is well.
        """
        problems = []
        for name, expected in read_json(path / MANIFEST)["files"].items():
            file = path / name
            if not file.is_file():
                problems.append(f"{name} is missing")
            elif file.stat().st_size != expected["size"]:
                size = file.stat().st_size
                problems.append(f"{name} has {size} bytes instead of {expected['size']}")
            elif sha256(file.read_bytes()) != expected["sha256"]:
                problems.append(f"the content of {name} has changed")
        return problems

    # ---- writing ------------------------------------------------------------------------

    def save(
        self,
        name: str,
        *,
        epoch: int,
        step: int,
        models: Mapping[str, Mapping[str, Tensor]],
        training_state: Any = None,
    ) -> Path:
        """Write a checkpoint. When this returns, it is complete and on the disk.

        Args:
            name: its folder's name. One that is there already is replaced.
            epoch: epoch in which it was taken.
            step: steps made so far; decides which checkpoint is the newest.
            models: weights by the model's name; ``""`` for the only one.
            training_state: anything that :func:`~audiozen.trainer.serialization.flatten` takes.

        Raises:
            CheckpointError: the state cannot be written down, or the disk refused. What was there before is unharmed.
        """
        document, tensors = flatten(training_state)
        files = {
            weights_file(model): tensors_to_bytes(weights) for model, weights in models.items()
        }
        files[f"{TRAINING_STATE}.safetensors"] = tensors_to_bytes(tensors)
        files[f"{TRAINING_STATE}.json"] = to_json(document)
        manifest = {
            "format": FORMAT,
            "epoch": epoch,
            "step": step,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "torch": torch.__version__,
            "files": {
                file: {"size": len(content), "sha256": sha256(content)}
                for file, content in files.items()
            },
        }
        target = self.root / name
        try:
            self._commit(target, {**files, MANIFEST: to_json(manifest)})
        except OSError as error:
            raise CheckpointError(f"{target} could not be written: {error}") from error
        return target

    def _commit(self, target: Path, files: dict[str, bytes]) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        self.sweep()
        staged = target.with_name(f".{target.name}.partial")
        durable_files.make_folder(staged)
        for name, content in files.items():
            durable_files.write_file(staged / name, content)
        durable_files.flush(staged)
        if target.exists():
            durable_files.remove_folder(target)
        durable_files.rename(staged, target)
        durable_files.point(self.root / "latest", target.name)

    def record_validation(self, name: str, outcome: Mapping[str, Any]) -> None:
        """Add the outcome of a checkpoint's validation (numbers, strings, lists and dicts) to it; at once or
        not at all.
        """
        document, tensors = flatten(dict(outcome))
        if tensors:
            raise CheckpointError(
                f"the outcome of a validation cannot hold tensors: {list(tensors)}"
            )
        durable_files.replace_file(self.root / name / VALIDATION, to_json(document))

    def mark_best(self, name: str) -> None:
        """Let ``best`` refer to a checkpoint; it will not be pruned."""
        link = self.root / "best"
        if not link.is_symlink() or link.readlink() != Path(name):
            durable_files.point(link, name)

    def prune(self) -> None:
        """Remove the oldest checkpoints beyond ``max_num_checkpoints``, but never the best one."""
        best = (self.root / "best").resolve().name
        for name in self.names()[: -self.max_num_checkpoints]:
            if name != best:
                durable_files.remove_folder(self.root / name)

    def sweep(self) -> None:
        """Remove what an interrupted save or removal left behind."""
        for leftover in (*self.root.glob(".*.partial"), *self.root.glob(".*.removed")):
            if leftover.is_dir() and not leftover.is_symlink():
                shutil.rmtree(leftover)
            else:
                leftover.unlink()

    # ---- reading ------------------------------------------------------------------------

    def load_models(self, path: Path) -> dict[str, dict[str, Tensor]]:
        """Weights by the model's name, on the CPU, after checking that they are as they were written.

        Raises:
            CheckpointError: the folder is damaged; the text says what is wrong with which file.
        """
        self._check(path)
        files = [name for name in read_json(path / MANIFEST)["files"] if name.startswith("model.")]
        return {model_name(file): safetensors.torch.load_file(path / file) for file in files}

    def load_training_state(self, path: Path) -> Any:
        """What :meth:`save` was given as ``training_state``.

        Raises:
            CheckpointError: the folder is damaged; the text says what is wrong with which file.
        """
        self._check(path)
        tensors = safetensors.torch.load_file(path / f"{TRAINING_STATE}.safetensors")
        return unflatten(read_json(path / f"{TRAINING_STATE}.json"), tensors)

    def load_validation(self, path: Path) -> dict[str, Any] | None:
        """The recorded outcome of a checkpoint's validation, or None if there is none."""
        file = path / VALIDATION
        return unflatten(read_json(file), {}) if file.is_file() else None

    def _check(self, path: Path) -> None:
        written = read_json(path / MANIFEST).get("format")
        if written != FORMAT:
            raise CheckpointError(
                f"{path} is of format {written}, this version of AudioZEN reads {FORMAT}; use the version that wrote it"
            )
        if problems := self.verify(path):
            raise CheckpointError(f"{path} is damaged: {'; '.join(problems)}")


def weights_file(model: str) -> str:
    """File of a model's weights within a checkpoint."""
    return f"model.{model}.safetensors" if model else "model.safetensors"


def model_name(file: str) -> str:
    """The opposite of :func:`weights_file`."""
    return file.removeprefix("model.").removesuffix("safetensors").removesuffix(".")


def tensors_to_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Tensors in the safetensors format.

    Tied weights are written under each of their names, so that any program can load the file into the same model.
    """
    seen: set[int] = set()
    separate = {}
    for name, tensor in tensors.items():
        value = tensor.detach().cpu().contiguous()
        storage = value.untyped_storage()
        if storage.data_ptr() in seen or storage.nbytes() != value.nbytes:
            value = value.clone()
        seen.add(value.untyped_storage().data_ptr())
        separate[name] = value
    return safetensors.torch.save(separate)


def to_json(document: Any) -> bytes:
    """JSON that any reader takes: no NaN, no infinities."""
    return json.dumps(document, indent=1, allow_nan=False).encode()


def read_json(path: Path) -> Any:
    """A JSON file's content.

    Raises:
        CheckpointError: it is missing or no JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error


def sha256(content: bytes) -> str:
    """Hash of a file's content, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()
