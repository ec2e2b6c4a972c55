"""A small run as the command line makes it, in a child of this process, on a machine that fails."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from audiozen.errors import AudioZENError
from audiozen.tracking.jsonl import read_metrics
from audiozen.trainer.base_trainer import BaseTrainer
from audiozen.trainer.checkpoint import CheckpointStore

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

WIDTH = 100
STEPS_PER_EPOCH = 3
NUM_EPOCHS = 3


class Vectors(Dataset[Tensor]):
    """Random vectors, drawn anew each time."""

    def __len__(self) -> int:
        return 2 * STEPS_PER_EPOCH

    def __getitem__(self, index: int) -> Tensor:
        return torch.randn(WIDTH)


class Fit(BaseTrainer):
    """Learns to repeat its input. Before a step, something may happen to the machine."""

    events: Mapping[int, Callable[[], object]]

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.events.get(self.state.step + 1, lambda: None)()
        return self.error(batch).mean()

    def validation_step(self, batch: Tensor, batch_idx: int) -> dict[str, Tensor]:
        return {"mse": self.error(batch)}

    def error(self, batch: Tensor) -> Tensor:
        return (self.model(batch) - batch).square().mean(-1)


def train(
    exp_dir: Path, events: Mapping[int, Callable[[], object]] | None = None, num_workers: int = 0
) -> None:
    """Go on with the run in a folder, to its end.

    Args:
        exp_dir: the folder.
        events: what happens before which step.
        num_workers: of the dataloaders.
    """
    torch.manual_seed(1)
    model = nn.Linear(WIDTH, WIDTH)
    trainer = Fit(
        model,
        torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
        config={
            "max_epochs": NUM_EPOCHS,
            "log_interval": 1,
            "best_metric": "mse",
            "higher_is_better": False,
            "num_audio_samples": 0,
        },
        exp_dir=exp_dir,
        resume=True,
    )
    trainer.events = events or {}
    options: Any = {"batch_size": 2, "num_workers": num_workers}
    if num_workers:
        options["multiprocessing_context"] = "fork"  # in a process of a pool, the default is slow
        # The last batch of an epoch is not asked for before the one before it has come, so that an accident costs one.
        options["prefetch_factor"] = 1
    trainer.train(DataLoader(Vectors(), **options), DataLoader(Vectors(), **options))


# ---- in a child --------------------------------------------------------------------------------------


class Ended(NamedTuple):
    """How a child ended.

    Attributes:
        code: exit code, as of the command line; negative for a signal.
        text: what it said.
    """

    code: int
    text: str


class Child:
    """A child of this process that does one thing, and ends with the exit code that the command line gives it."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed where it is waited for
        self.pid = os.fork()
        if self.pid == 0:
            os.setpgid(0, 0)
            os.dup2(self._output.fileno(), 1)
            os.dup2(self._output.fileno(), 2)
            end_with(work)

    def wait(self) -> Ended:
        """Until it has ended."""
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        text = self.text()
        self._output.close()
        return Ended(code, text)

    def text(self) -> str:
        """What it has said so far."""
        self._output.seek(0)
        return self._output.read().decode()

    def kill(self) -> Ended:
        """Kill the process alone: what it has started is not told."""
        os.kill(self.pid, signal.SIGKILL)
        return self.wait()


def end_with(work: Callable[[], object]) -> None:
    """Do it, and end this process."""
    code = 1
    sys.stdout = sys.stderr = os.fdopen(2, "w", closefd=False)
    try:
        work()
        code = 0
    except AudioZENError as error:
        sys.stderr.write(f"error: {error}\n")
        code = error.exit_code
    except BaseException:  # noqa: BLE001 - a child must end here, whatever happened
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def in_child(work: Callable[[], object]) -> Ended:
    """Do something in a child and wait for it."""
    return Child(work).wait()


# ---- what is left ------------------------------------------------------------------------------------


def outcome(exp_dir: Path) -> dict[str, Any]:
    """What must be the same whatever happened on the way."""
    store = CheckpointStore(exp_dir / "checkpoints")
    rows = read_metrics(exp_dir / "metrics" / "metrics.jsonl")
    found: dict[str, Any] = {
        "rows": [{key: value for key, value in row.items() if key != "time"} for row in rows],
        "best": store.find("best").name,
    }
    for file in store.find("latest").iterdir():
        if file.name != "manifest.json":  # it says when
            found[file.name] = file.read_bytes()
    return found


def check_whole(exp_dir: Path, *expected: str) -> None:
    """Exactly these checkpoints are there, and whole."""
    store = CheckpointStore(exp_dir / "checkpoints")
    assert store.names() == list(expected)
    for name in expected:
        assert store.verify(store.find(name)) == []
