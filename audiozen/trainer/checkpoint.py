"""What is on disk: the checkpoints of one run, each complete or absent. Usable without a trainer.

::

    store = CheckpointStore("exp/my_run/checkpoints")
    store.save("epoch_0001", epoch=1, step=100, models={"": model.state_dict()}, training_state={"lr": 0.1})
    weights = store.load_models(store.find("latest"))[""]

A checkpoint is a folder of safetensors and JSON files::

    epoch_0001/
    ├── model.safetensors              the weights that were evaluated (model.NAME.safetensors for named models)
    ├── training_state.safetensors     what else a run needs to go on: tensors
    ├── training_state.json            and everything that is no tensor
    ├── manifest.json                  sizes and hashes of the files above, and of itself; written last
    └── validation.json                the outcome of its validation; added when that has ended

Fields of the manifest: ``format`` of the folder, the number that ``FORMAT`` was when it was written; ``epoch`` in
which and ``step`` after which it was taken; ``time`` at which it was written (UTC); version of ``torch``; ``files`` by
name, each with ``size``, ``xxh3_128_of_blocks`` and ``sha256`` (``audiozen.trainer.verified_files``); ``seal``,
SHA-256 of all these.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from audiozen import durable_files
from audiozen.errors import CheckpointError, DamagedCheckpointError
from audiozen.trainer.serialization import flatten, unflatten
from audiozen.trainer.tensor_file import TensorFile, tensors_in
from audiozen.trainer.verified_files import VerifiedFiles, describe

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from torch import Tensor

    from audiozen.durable_files import Bytes
    from audiozen.trainer.verified_files import Content

__all__ = ["CheckpointStore", "Moment", "StagedCheckpoint"]

logger = logging.getLogger(__name__)

FORMAT = 2
MANIFEST = "manifest.json"
VALIDATION = "validation.json"
TRAINING_STATE = "training_state"
SEAL = "seal"
DAMAGED = ".damaged"


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


@dataclass(frozen=True)
class StagedCheckpoint:
    """A checkpoint in memory, to be written. The next one that is staged takes its memory over."""

    name: str
    epoch: int
    step: int
    tensors: dict[str, tuple[Bytes, ...]]
    """Parts of the safetensors files."""
    document: Any
    """What is no tensor."""


class CheckpointStore:
    """The checkpoints in one folder.

    A checkpoint is written into a hidden folder beside its place, flushed, and renamed when it is complete.
    ``latest`` and ``best`` are symbolic links to two of them (on Windows small files with the name of one). What is
    newest is read from the manifests, not from names or times. Folders called ``NAME.damaged`` were set aside to be
    looked at, and are no checkpoints.

    Args:
        root: folder of the checkpoints; made at the first save.
        max_num_checkpoints: how many of the newest to keep. The best one is kept besides.
    """

    def __init__(self, root: str | Path, *, max_num_checkpoints: int = 3) -> None:
        if max_num_checkpoints < 1:
            raise ValueError(f"max_num_checkpoints must be at least 1, got {max_num_checkpoints}")
        self.root = Path(root)
        self.max_num_checkpoints = max_num_checkpoints
        self._tensor_files: dict[str, TensorFile] = {}
        self._verified = VerifiedFiles()
        self._moments: dict[str, tuple[int, Moment]] = {}  # by name, each with its folder's inode

    # ---- what is there ----------------------------------------------------------------

    def names(self) -> list[str]:
        """Names of the complete checkpoints, oldest first. One with a damaged manifest is told and left out."""
        moments, damaged = self._survey()
        for name, problem in damaged.items():
            logger.warning("%s is left aside: %s", self.root / name, problem)
        return [moment.name for moment in moments]

    def _survey(self) -> tuple[list[Moment], dict[str, str]]:
        """Checkpoints by their manifests, oldest first; and those without a good one, with what is wrong."""
        moments, damaged = [], {}
        for path in sorted(self.root.glob("[!.]*")):
            if is_checkpoint(path):
                try:
                    moments.append(self.read_moment(path))
                except CheckpointError as error:
                    damaged[path.name] = str(error)
        return sorted(moments, key=age), damaged

    def read_moment(self, path: Path) -> Moment:
        """When the checkpoint in a folder was taken.

        Raises:
            CheckpointError: its manifest is missing or damaged.
        """
        manifest = read_sealed(path / MANIFEST)
        try:
            return Moment(path.name, int(manifest["epoch"]), int(manifest["step"]))
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path / MANIFEST} lacks epoch or step") from error

    def torch_version(self, path: Path) -> str:
        """Version of PyTorch that a checkpoint was written with."""
        return str(read_manifest(path)["torch"])

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
        for path in map(durable_files.target_of, candidates):
            if (path / MANIFEST).is_file():
                return path
        there = ", ".join(self.names()) or "none"
        raise CheckpointError(f"no checkpoint {str(which)!r} in {self.root}; there: {there}")

    def verify(self, path: Path) -> list[str]:
        """What is wrong with a checkpoint: files that are missing, or differ from the manifest. Empty if all is well.

        Raises:
            CheckpointError: it was written in another format, so that nothing can be said.
        """
        problems = self._problems(path)
        self._verified.let_go()
        return problems

    def _problems(self, path: Path) -> list[str]:
        """As :meth:`verify`; a checkpoint without any stays mapped until it is loaded."""
        try:
            files = read_manifest(path)["files"]
        except DamagedCheckpointError as error:
            return [str(error)]
        return [
            problem
            for name, description in files.items()
            for problem in self._verified.problems(path / name, description)
        ]

    def newest_good(self) -> Path | None:
        """Folder of the newest checkpoint that is as it was written, for a run that goes on; None if there is none.

        Newer ones that are damaged are told and set aside as ``NAME.damaged``.

        Raises:
            CheckpointError: there are checkpoints, and all of them are damaged.
        """
        self.sweep()
        moments, damaged = self._survey()
        for moment in reversed(moments):
            path = self.root / moment.name
            problems = self._problems(path)
            if not problems:
                steps = [stated_step(self.root / name) for name in damaged]
                for name, problem in damaged.items():
                    self.set_aside(name, problem)
                self._tell_what_is_lost(moment, steps)
                return path
            damaged[moment.name] = "; ".join(problems)
        if damaged:
            told = "\n  ".join(f"{name}: {problem}" for name, problem in damaged.items())
            raise CheckpointError(
                f"every checkpoint in {self.root} is damaged, so nothing can be gone on from; they are left as they "
                f"are. To start over, choose another folder:\n  {told}"
            )
        return None

    def _tell_what_is_lost(self, moment: Moment, steps: Sequence[int | None]) -> None:
        num_lost = max((step - moment.step for step in steps if step is not None), default=0)
        if num_lost > 0 or None in steps:
            logger.error(
                "going on from %s: %s steps are done again",
                self.root / moment.name,
                num_lost if num_lost > 0 else "an unknown number of",
            )

    def set_aside(self, name: str, problem: str) -> None:
        """Tell of a damaged checkpoint, and take its name from it."""
        number, aside = 1, self.root / f"{name}{DAMAGED}"
        while aside.exists():
            number += 1
            aside = self.root / f"{name}{DAMAGED}{number}"
        durable_files.rename(self.root / name, aside)
        logger.error(
            "%s is damaged: %s. It is kept as %s to be looked at",
            self.root / name,
            problem,
            aside.name,
        )

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
            training_state: dicts, lists, tuples, strings, numbers, booleans, None, tensors and arrays, in any nesting.

        Raises:
            CheckpointError: the state cannot be written down, or the disk refused. What was there before is unharmed.
        """
        staged = self.stage(
            name, epoch=epoch, step=step, models=models, training_state=training_state
        )
        return self.write(staged)

    def stage(
        self,
        name: str,
        *,
        epoch: int,
        step: int,
        models: Mapping[str, Mapping[str, Tensor]],
        training_state: Any = None,
    ) -> StagedCheckpoint:
        """Copy everything into memory that is kept, so that the tensors may change while it is written.

        Arguments and errors as of :meth:`save`.
        """
        document, tensors = flatten(training_state)
        files: dict[str, tuple[Bytes, ...]] = {
            weights_file(model): self._copy(weights_file(model), weights)
            for model, weights in models.items()
        }
        tensors_name = f"{TRAINING_STATE}.safetensors"
        files[tensors_name] = self._copy(tensors_name, tensors)
        return StagedCheckpoint(name, epoch, step, files, document)

    def _copy(self, name: str, tensors: Mapping[str, Tensor]) -> tuple[Bytes, ...]:
        file = self._tensor_files.setdefault(name, TensorFile())
        file.copy(tensors)
        return file.parts()

    def write(self, staged: StagedCheckpoint) -> Path:
        """Write a staged checkpoint; may be called in another thread. As :meth:`save` in everything else."""
        self._verified.let_go()
        self._moments.pop(staged.name, None)
        target = self.root / staged.name
        partial = self.root / f".{staged.name}.partial"
        try:
            self._write_folder(partial, staged)
            self._commit(partial, target)
        except OSError as error:
            make_room(partial)
            raise CheckpointError(f"{target} could not be written: {error}") from error
        try:
            self.mark_latest(staged.name)
        except CheckpointError as error:  # nothing depends on it
            logger.warning("%s", error)
        return target

    def _write_folder(self, folder: Path, staged: StagedCheckpoint) -> None:
        durable_files.make_folders(self.root)
        self._sweep_root()
        durable_files.make_folder(folder)
        files = {**staged.tensors, f"{TRAINING_STATE}.json": (to_json(staged.document),)}
        for name, parts in files.items():
            durable_files.write_file(folder / name, *parts)
        manifest = {
            "format": FORMAT,
            "epoch": staged.epoch,
            "step": staged.step,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "torch": torch.__version__,
            "files": {name: describe(parts) for name, parts in files.items()},
        }
        durable_files.write_file(folder / MANIFEST, sealed(manifest))
        durable_files.flush(folder)

    def _commit(self, folder: Path, target: Path) -> None:
        """Give a complete checkpoint its name. One that has the name is there until then, or comes back."""
        replaced = target.with_name(f".{target.name}.replaced")
        if target.exists():
            durable_files.rename(target, replaced)
        durable_files.rename(folder, target)
        if replaced.exists():
            durable_files.remove_folder(replaced)

    def record_validation(self, name: str, outcome: Mapping[str, Any]) -> None:
        """Add the outcome of a checkpoint's validation (numbers, strings, lists and dicts) to it; at once or not at
        all.

        Raises:
            CheckpointError: the outcome holds something else, or the disk refused.
        """
        document, tensors = flatten(dict(outcome))
        if tensors:
            raise CheckpointError(
                f"the outcome of a validation cannot hold tensors: {list(tensors)}"
            )
        file = self.root / name / VALIDATION
        content = {"outcome": document, "of": content_of(self.root / name)}
        try:
            durable_files.replace_file(file, sealed(content))
        except OSError as error:
            raise CheckpointError(f"{file} could not be written: {error}") from error

    def mark_best(self, name: str) -> None:
        """Let ``best`` refer to a checkpoint; it will not be pruned.

        Raises:
            CheckpointError: the disk refused.
        """
        self._point("best", name)

    def mark_latest(self, name: str) -> None:
        """Let ``latest`` refer to a checkpoint. Writing one does this as well, if the disk lets it.

        Raises:
            CheckpointError: the disk refused.
        """
        self._point("latest", name)

    def _point(self, link_name: str, name: str) -> None:
        link = self.root / link_name
        if link.exists() and durable_files.target_of(link).name == name:
            return
        try:
            durable_files.point(link, name)
        except OSError as error:
            raise CheckpointError(f"{link} could not be written: {error}") from error

    def prune(self) -> None:
        """Remove the oldest checkpoints beyond ``max_num_checkpoints``, but never the best one.

        What it costs does not grow with the number of checkpoints, but for the listing of their names: of each the
        manifest is read once.

        Raises:
            CheckpointError: the disk refused.
        """
        folders = self._folders()
        if len(folders) <= self.max_num_checkpoints:
            return
        best = durable_files.target_of(self.root / "best").name
        for name in self._oldest_first(folders)[: -self.max_num_checkpoints]:
            if name != best:
                self._moments.pop(name, None)
                try:
                    durable_files.remove_folder(self.root / name)
                except OSError as error:
                    raise CheckpointError(
                        f"{self.root / name} could not be removed: {error}"
                    ) from error

    def _folders(self) -> dict[str, int]:
        """Names of the folders that may be checkpoints, each with its inode; nothing is read but the list of them."""
        if not self.root.is_dir():
            return {}
        with os.scandir(self.root) as entries:
            return {
                entry.name: entry.inode()
                for entry in entries
                if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)
            }

    def _oldest_first(self, folders: Mapping[str, int]) -> list[str]:
        """As :meth:`names`; of a checkpoint that was seen before, the manifest is not read again."""
        known, self._moments = self._moments, {}
        for name, inode in sorted(folders.items()):
            before, moment = known.get(name, (None, None))
            if moment is None or before != inode:
                moment = self._moment_or_none(self.root / name)
            if moment is not None:
                self._moments[name] = inode, moment
        moments = sorted((moment for _, moment in self._moments.values()), key=age)
        return [moment.name for moment in moments]

    def _moment_or_none(self, path: Path) -> Moment | None:
        """When a checkpoint was taken; None for other folders, and (told) where its manifest is damaged."""
        try:
            return self.read_moment(path) if is_checkpoint(path) else None
        except CheckpointError as error:
            logger.warning("%s is left aside: %s", path, error)
            return None

    def sweep(self) -> None:
        """Remove what an interrupted save or removal left behind, in the checkpoints as well."""
        self._sweep_root()
        for path in self.root.glob("[!.]*"):
            if path.is_dir() and not path.is_symlink():
                durable_files.sweep(path)

    def _sweep_root(self) -> None:
        """Remove what an interrupted save or removal left beside the checkpoints."""
        hidden = sorted(self.root.glob(".*"))
        for old in hidden:
            name = old.name.removeprefix(".").removesuffix(".replaced")
            if old.suffix == ".replaced" and not (self.root / name).exists():
                durable_files.rename(old, self.root / name)
        for leftover in hidden:
            if leftover.suffix in (".partial", ".removed", ".replaced"):
                durable_files.remove(leftover)

    # ---- reading ------------------------------------------------------------------------

    def load_models(self, path: Path) -> dict[str, dict[str, Tensor]]:
        """Weights by the model's name, on the CPU, after checking that they are as they were written.

        The tensors lie in the mapped files, so that copying them into a model is all that is copied. They may be
        changed, which does not change the files.

        Raises:
            CheckpointError: the folder is damaged; the text says what is wrong with which file.
        """
        files = [name for name in read_manifest(path)["files"] if name.startswith("model.")]
        contents = self._read(path, files)
        return {model_name(file): tensors_in(contents[file]) for file in files}

    def load_training_state(self, path: Path) -> Any:
        """What :meth:`save` was given as ``training_state``; tensors as in :meth:`load_models`.

        Raises:
            CheckpointError: the folder is damaged; the text says what is wrong with which file.
        """
        tensors, document = f"{TRAINING_STATE}.safetensors", f"{TRAINING_STATE}.json"
        contents = self._read(path, [tensors, document])
        return unflatten(json.loads(contents[document][:]), tensors_in(contents[tensors]))

    def _read(self, path: Path, names: Iterable[str]) -> dict[str, Content]:
        """Contents of files by name, all of them verified before any is given."""
        files, contents, problems = read_manifest(path)["files"], {}, []
        for name in names:
            try:
                contents[name] = self._verified.read(path / name, files.get(name, {}))
            except DamagedCheckpointError as error:
                problems.append(str(error))
        if problems:
            raise DamagedCheckpointError(f"{path} is damaged: {'; '.join(problems)}")
        return contents

    def load_validation(self, path: Path) -> dict[str, Any] | None:
        """The recorded outcome of a checkpoint's validation; None if there is none, or (told) a damaged one."""
        file = path / VALIDATION
        if not file.is_file():
            return None
        try:
            content = read_sealed(file)
            if content["of"] != content_of(path):
                raise DamagedCheckpointError("it is of another checkpoint")
        except CheckpointError as error:
            logger.warning("%s is left aside, as if that validation had not been: %s", file, error)
            return None
        outcome: dict[str, Any] = unflatten(content["outcome"], {})
        return outcome


def age(moment: Moment) -> tuple[int, int, str]:
    """What checkpoints are sorted by, the oldest first."""
    return moment.step, moment.epoch, moment.name


def is_checkpoint(path: Path) -> bool:
    """Whether a folder is one of a checkpoint, complete or not; others may be there as well."""
    if path.is_symlink() or not path.is_dir() or re.fullmatch(rf"{DAMAGED}\d*", path.suffix):
        return False
    names = {MANIFEST, f"{TRAINING_STATE}.json", f"{TRAINING_STATE}.safetensors"}
    there = {file.name for file in path.iterdir()}
    return bool(there & names) or any(name.startswith("model.") for name in there)


def read_manifest(path: Path) -> Any:
    """The manifest of a checkpoint.

    Raises:
        CheckpointError: it is missing or damaged, or of another format.
    """
    manifest = read_sealed(path / MANIFEST)
    if manifest.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is of format {manifest.get('format')}, this version of AudioZEN reads {FORMAT}; use the version "
            "that wrote it"
        )
    return manifest


def make_room(folder: Path) -> None:
    """Remove a half-written folder from a disk that may be full."""
    try:
        if folder.exists():
            durable_files.remove_folder(folder)
    except OSError as error:
        logger.warning("%s is left behind: %s", folder, error)


def weights_file(model: str) -> str:
    """File of a model's weights within a checkpoint."""
    return f"model.{model}.safetensors" if model else "model.safetensors"


def model_name(file: str) -> str:
    """The opposite of :func:`weights_file`."""
    return file.removeprefix("model.").removesuffix("safetensors").removesuffix(".")


def to_json(document: Any) -> bytes:
    """JSON that any reader takes: no NaN, no infinities."""
    # Without indentation: else the encoder is one in Python, which holds up the training for as long as it works.
    return json.dumps(document, allow_nan=False).encode()


def read_json(path: Path) -> Any:
    """A JSON file's content.

    Raises:
        CheckpointError: it is missing or no JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DamagedCheckpointError(f"{path.name} cannot be read: {error}") from error


def stated_step(path: Path) -> int | None:
    """The step that a manifest states, which may be damaged; None if it states none."""
    try:
        step = read_json(path / MANIFEST)["step"]
    except (CheckpointError, KeyError, TypeError):
        return None
    return step if isinstance(step, int) else None


def content_of(path: Path) -> str:
    """A hash that tells the checkpoint in a folder from every other, and is the same whenever it is written."""
    manifest = read_manifest(path)
    content = {key: manifest[key] for key in ("epoch", "step", "files")}
    return hashlib.sha256(to_json(content)).hexdigest()


def sealed(document: Mapping[str, Any]) -> bytes:
    """JSON with a hash of itself, for files that no manifest knows."""
    seal = hashlib.sha256(to_json(document)).hexdigest()
    return to_json({**document, SEAL: seal})


def read_sealed(path: Path) -> dict[str, Any]:
    """What :func:`sealed` made a file of.

    Raises:
        CheckpointError: it is missing, or not byte for byte as it was written.
    """
    document = read_json(path)
    if isinstance(document, dict):
        content = {key: value for key, value in document.items() if key != SEAL}
        if sealed(content) == path.read_bytes():
            return content
    raise DamagedCheckpointError(f"{path.name} is not as it was written")
