"""Going on from what is on the disk: after damage, after changes, after a disk that refused."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from audiozen import durable_files
from audiozen.errors import CheckpointError, Preempted, RequestError
from audiozen.testing import RecordingTracker
from audiozen.tracking.console import SilentConsole
from audiozen.trainer.base_trainer import BaseTrainer
from tests.trainer.regression import Regression


def net(hidden: int = 8) -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(4, hidden), nn.Dropout(0.3), nn.Linear(hidden, 2))


def build(exp_dir: Path, *, cls=Regression, model=None, optimizer=None, scheduler=None, **kwargs):
    model = model or net()
    optimizer = (
        torch.optim.Adam(model.parameters(), lr=0.01) if optimizer is None else optimizer(model)
    )
    options = {name: kwargs.pop(name) for name in ("resume", "allow_changes") if name in kwargs}
    settings = {"best_metric": "mse", "higher_is_better": False, "num_threads": 1}
    return cls(
        model,
        optimizer,
        lr_scheduler=scheduler(optimizer) if scheduler else None,
        config=settings | kwargs,
        exp_dir=exp_dir,
        tracker=RecordingTracker(),
        console=SilentConsole(),
        **options,
    )


def loader(num_items: int = 20, *, batch_size: int = 4, seed: int = 1, num_workers: int = 0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(num_items, 4, generator=generator)
    return DataLoader(
        TensorDataset(x, x[:, :2].clone()),
        batch_size=batch_size,
        shuffle=True,
        num_workers=num_workers,
    )


def train(trainer: BaseTrainer, data=None, *, validates: bool = True) -> BaseTrainer:
    trainer.train(data or loader(), [loader(6)] if validates else [])
    return trainer


def digest(trainer: BaseTrainer, which: str = "latest") -> str:
    content = (trainer.checkpoints_dir / which / "model.safetensors").read_bytes()
    return hashlib.sha256(content).hexdigest()


def spoil(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


# ---- damage ---------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["model.safetensors", "training_state.json", "manifest.json"])
def test_damaged_newest_checkpoint_is_told_kept_aside_and_the_one_before_is_used(
    tmp_path, file, caplog
):
    whole = train(build(tmp_path / "whole", max_epochs=4))
    first = train(build(tmp_path / "run", max_epochs=3))
    spoil(first.checkpoints_dir / "epoch_0003" / file)
    caplog.set_level("INFO")
    resumed = train(build(tmp_path / "run", max_epochs=4, resume=True))
    assert "epoch_0003 is damaged" in caplog.text
    assert "resumed at epoch 2, step 10" in caplog.text
    assert "are done again" in caplog.text
    assert (first.checkpoints_dir / "epoch_0003.damaged").is_dir()
    assert digest(resumed) == digest(whole)
    assert resumed.state == whole.state
    assert resumed.store.names() == ["epoch_0002", "epoch_0003", "epoch_0004"]


def test_where_every_checkpoint_is_damaged_nothing_is_started_from_the_beginning(tmp_path):
    trainer = train(build(tmp_path, max_epochs=2))
    for name in trainer.store.names():
        spoil(trainer.checkpoints_dir / name / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"every checkpoint in .* is damaged"):
        train(build(tmp_path, max_epochs=3, resume=True))
    assert trainer.store.names() == ["epoch_0001", "epoch_0002"]


def test_damaged_outcome_of_a_validation_has_it_done_again(tmp_path):
    whole = train(build(tmp_path, max_epochs=2))
    spoil(tmp_path / "checkpoints" / "epoch_0002" / "validation.json")
    resumed = train(build(tmp_path, max_epochs=2, resume=True))
    assert resumed.state == whole.state
    assert resumed.store.load_validation(resumed.store.find("latest"))


def test_lost_best_checkpoint_is_told_and_the_next_one_takes_its_place(tmp_path, caplog):
    class Worse(Regression):
        def validation_epoch_end(self, outputs):
            return float(self.state.epoch)

    trainer = train(build(tmp_path, cls=Worse, max_epochs=2))
    assert trainer.state.best_checkpoint == "epoch_0001"
    spoil(trainer.checkpoints_dir / "epoch_0001" / "model.safetensors")
    resumed = train(build(tmp_path, cls=Worse, max_epochs=3, resume=True))
    assert "the best checkpoint, epoch_0001, is lost" in caplog.text
    assert resumed.state.best_checkpoint == "epoch_0003"
    assert resumed.store.find("best").name == "epoch_0003"


def test_links_that_a_killed_run_had_not_set_are_set(tmp_path):
    trainer = train(build(tmp_path, max_epochs=2))
    best = trainer.store.find("best").name
    for link in ("best", "latest"):
        (trainer.checkpoints_dir / link).unlink()
    resumed = train(build(tmp_path, max_epochs=2, resume=True))
    assert resumed.store.find("best").name == best
    assert (resumed.checkpoints_dir / "latest").readlink() == Path("epoch_0002")


def test_moved_folder_is_resumed_exactly(tmp_path):
    whole = train(build(tmp_path / "whole", max_epochs=3))
    train(build(tmp_path / "before", max_epochs=2))
    shutil.move(tmp_path / "before", tmp_path / "elsewhere")
    resumed = train(build(tmp_path / "elsewhere", max_epochs=3, resume=True))
    assert digest(resumed) == digest(whole)
    assert (resumed.checkpoints_dir / "best" / "model.safetensors").is_file()


# ---- changes --------------------------------------------------------------------------------


def adamw(model):
    return torch.optim.AdamW(model.parameters(), lr=0.01)


def faster(model):
    return torch.optim.Adam(model.parameters(), lr=0.02)


CHANGES = {
    "batch size": (
        {"data": loader(batch_size=5)},
        "train_dataloader.batch_size: was 4, is 5",
    ),
    "length": ({"data": loader(24)}, "train_dataloader.num_samples: was 20, is 24"),
    "content": ({"data": loader(seed=3)}, "train_dataloader.content: was "),
    "accumulation": (
        {"gradient_accumulation_steps": 2},
        "trainer.gradient_accumulation_steps: was 1, is 2",
    ),
    "optimizer": ({"optimizer": adamw}, "optimizer: was 'Adam', is 'AdamW'"),
    "learning rate": ({"optimizer": faster}, "optimizer.lr: was 0.01, is 0.02"),
    "model": ({"model": net(9)}, r"0.weight: expected \(9, 4\), found \(8, 4\)"),
    "averaging": ({"ema_decay": 0.9}, "averaging: was 'NoAveraging', is 'ExponentialAveraging'"),
    "schedule": (
        {"scheduler": lambda o: torch.optim.lr_scheduler.StepLR(o, 3)},
        "lr_scheduler: was not there, is 'StepLR'",
    ),
}


@pytest.mark.parametrize("changed", CHANGES)
def test_changed_run_is_refused_with_what_differs_or_goes_on_where_that_is_allowed(
    tmp_path, changed, caplog
):
    kwargs, text = CHANGES[changed]
    kwargs = dict(kwargs)
    data = kwargs.pop("data", None)
    train(build(tmp_path, max_steps=7))
    before = sorted(str(p) for p in tmp_path.rglob("*"))
    with pytest.raises(RequestError, match=text) as refusal:
        train(build(tmp_path, max_steps=13, resume=True, **kwargs), data)
    assert "--allow-changes" in str(refusal.value)
    assert sorted(str(p) for p in tmp_path.rglob("*")) == before
    resumed = build(tmp_path, max_steps=13, resume=True, allow_changes=True, **kwargs)
    train(resumed, data)
    assert resumed.state.step == 13
    assert "changed since epoch_0002_step_00000007" in caplog.text


def test_other_version_of_pytorch_is_told(tmp_path, caplog, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", "2.9.9")
        train(build(tmp_path, max_epochs=1))
    train(build(tmp_path, max_epochs=2, resume=True))
    told = f"epoch_0001 was written with PyTorch 2.9.9, this is {torch.__version__}"
    assert told in caplog.text


def test_all_differences_are_told_at_once(tmp_path):
    train(build(tmp_path, max_epochs=1))
    with pytest.raises(RequestError) as refusal:
        train(build(tmp_path, max_epochs=2, optimizer=adamw, seed=5, resume=True), loader(24))
    for text in ("optimizer: was", "trainer.seed: was 0, is 5", "num_samples: was 20, is 24"):
        assert text in str(refusal.value)


def test_allowed_learning_rate_is_that_of_this_run_and_keeps_its_place_in_the_schedule(tmp_path):
    def halving(optimizer):
        return torch.optim.lr_scheduler.StepLR(optimizer, 2)

    train(build(tmp_path, max_steps=5, scheduler=halving))
    resumed = build(
        tmp_path, max_steps=8, scheduler=halving, optimizer=faster, resume=True, allow_changes=True
    )
    train(resumed)
    assert resumed.optimizer.param_groups[0]["lr"] == pytest.approx(0.02 * 0.1 ** (8 // 2))


def test_optimizer_keeps_its_moments_where_only_its_settings_changed(tmp_path):
    train(build(tmp_path, max_steps=7))
    resumed = build(tmp_path, max_steps=8, optimizer=faster, resume=True, allow_changes=True)
    train(resumed)
    assert {int(s["step"]) for s in resumed.optimizer.state.values()} == {8}
    assert resumed.optimizer.param_groups[0]["lr"] == 0.02


def test_changed_data_begin_the_interrupted_epoch_again(tmp_path, caplog):
    train(build(tmp_path, max_steps=7))
    resumed = build(tmp_path, max_epochs=2, resume=True, allow_changes=True)
    train(resumed, loader(24))
    assert "epoch 2 begins again" in caplog.text
    assert resumed.state.step == 7 + 6


def test_what_may_change_is_not_asked_about(tmp_path):
    whole = train(build(tmp_path / "whole", max_epochs=3))
    train(build(tmp_path / "run", max_steps=7))
    resumed = build(tmp_path / "run", max_epochs=3, log_interval=3, patience=9, resume=True)
    train(resumed, loader(num_workers=2))
    assert digest(resumed) == digest(whole)


# ---- disks that refuse ----------------------------------------------------------------------


class Refusing:
    """The functions of os, of which one refuses for a while."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.refuses = False

    def __getattr__(self, name: str):
        if self.refuses and name == self.name:
            return self._refuse
        return getattr(os, name)

    def _refuse(self, *args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def refusing(monkeypatch) -> Refusing:
    disk = Refusing("write")
    monkeypatch.setattr(durable_files, "os", disk)
    return disk


def test_save_that_fails_is_told_and_training_goes_on(tmp_path, refusing, caplog):
    class FullInEpochTwo(Regression):
        def training_epoch_end(self, outputs):
            self.saving.wait()
            refusing.refuses = self.state.epoch == 2

    whole = train(build(tmp_path / "whole", max_epochs=3), validates=False)
    trainer = build(tmp_path / "run", cls=FullInEpochTwo, max_epochs=3)
    train(trainer, validates=False)
    assert "epoch_0002 could not be written: [Errno 28] No space left" in caplog.text
    assert "training goes on, earlier checkpoints are whole" in caplog.text
    assert trainer.store.names() == ["epoch_0001", "epoch_0003"]
    assert digest(trainer) == digest(whole)
    assert not list(trainer.checkpoints_dir.glob(".*"))


def test_last_save_that_fails_ends_the_run_with_an_error(tmp_path, refusing):
    class FullInEpochTwo(Regression):
        def training_epoch_end(self, outputs):
            self.saving.wait()
            refusing.refuses = self.state.epoch == 2

    trainer = build(tmp_path, cls=FullInEpochTwo, max_epochs=2)
    with pytest.raises(CheckpointError, match=r"epoch 2, step 10 could not be saved in"):
        train(trainer, validates=False)
    assert trainer.store.names() == ["epoch_0001"]
    refusing.refuses = False
    assert train(build(tmp_path, max_epochs=2, resume=True), validates=False).state.step == 10


def test_score_of_a_checkpoint_that_could_not_be_written_is_never_the_best(tmp_path, refusing):
    class FullWhileValidating(Regression):
        def validation_epoch_end(self, outputs):
            refusing.refuses = self.state.epoch == 2
            return -float(self.state.epoch)

        def training_epoch_end(self, outputs):
            self.saving.wait()
            refusing.refuses = self.state.epoch == 2

    trainer = build(tmp_path, cls=FullWhileValidating, max_epochs=3)
    train(trainer)
    assert trainer.store.names() == ["epoch_0001", "epoch_0003"]
    assert trainer.store.find("best").name == "epoch_0003"


def test_last_score_counts_if_its_checkpoint_could_be_written_in_the_end(tmp_path, refusing):
    class FullAtFirst(Regression):
        def training_epoch_end(self, outputs):
            self.saving.wait()
            refusing.refuses = self.state.epoch == 2

        def require_saved(self):
            refusing.refuses = False
            super().require_saved()

    whole = train(build(tmp_path / "whole", max_epochs=2))
    trainer = train(build(tmp_path / "run", cls=FullAtFirst, max_epochs=2))
    assert trainer.state == whole.state
    assert trainer.store.find("best").name == "epoch_0002"
    assert trainer.store.load_validation(trainer.store.find("latest"))


def test_outcome_that_cannot_be_written_is_done_again_after_a_resume(tmp_path, refusing):
    class FullAfterValidating(Regression):
        def validation_epoch_end(self, outputs):
            self.saving.wait()
            refusing.refuses = True
            return super().validation_epoch_end(outputs)

    with pytest.raises(CheckpointError, match=r"validation.json could not be written"):
        train(build(tmp_path / "run", cls=FullAfterValidating, max_epochs=1))
    refusing.refuses = False
    whole = train(build(tmp_path / "whole", max_epochs=1))
    resumed = train(build(tmp_path / "run", max_epochs=1, resume=True))
    assert resumed.state == whole.state
    assert resumed.store.find("best").name == "epoch_0001"


def test_stop_by_signal_does_not_say_saved_where_it_is_not(tmp_path, refusing):
    class Stopped(Regression):
        def training_step(self, batch, batch_idx):
            if self.state.step == 2:
                refusing.refuses = True
                os.kill(os.getpid(), signal.SIGTERM)
            return super().training_step(batch, batch_idx)

    with pytest.raises(CheckpointError, match="step 3 could not be saved"):
        train(build(tmp_path, cls=Stopped, max_epochs=1))


# ---- stopping -------------------------------------------------------------------------------


def test_second_interrupt_stops_at_once_and_leaves_whole_checkpoints_only(tmp_path):
    class Impatient(Regression):
        def training_step(self, batch, batch_idx):
            if self.state.step == 7:
                os.kill(os.getpid(), signal.SIGINT)
                os.kill(os.getpid(), signal.SIGINT)
            return super().training_step(batch, batch_idx)

    trainer = build(tmp_path, cls=Impatient, max_epochs=2)
    with pytest.raises(KeyboardInterrupt):
        train(trainer)
    trainer.saving.wait()
    assert trainer.store.names() == ["epoch_0001"]
    whole = train(build(tmp_path / "whole", max_epochs=2))
    assert digest(train(build(tmp_path, max_epochs=2, resume=True))) == digest(whole)


def test_everything_is_on_the_disk_when_a_signal_has_stopped_the_run(tmp_path):
    class Stopped(Regression):
        def training_step(self, batch, batch_idx):
            if self.state.step == 2:
                os.kill(os.getpid(), signal.SIGUSR1)
            return super().training_step(batch, batch_idx)

    trainer = build(tmp_path, cls=Stopped, max_epochs=1)
    with pytest.raises(Preempted, match="SIGUSR1 at epoch 1, step 3"):
        train(trainer)
    assert trainer.store.find("latest").name == "epoch_0001_step_00000003"


# ---- weights to start from ------------------------------------------------------------------


def test_run_starts_from_the_weights_of_another_and_tells_what_did_not_match(tmp_path, caplog):
    caplog.set_level("INFO")
    first = train(build(tmp_path / "first", max_epochs=1))
    start = tmp_path / "first" / "checkpoints" / "latest"

    class Watching(Regression):
        def training_step(self, batch, batch_idx):
            if self.state.step == 0:
                self.seen = self.model[2].bias.detach().clone()
            return super().training_step(batch, batch_idx)

    second = build(
        tmp_path / "second", cls=Watching, model=net(9), max_epochs=1, init_from=str(start)
    )
    train(second)
    assert torch.equal(second.seen, first.model[2].bias)
    assert "initialised 1 tensors from" in caplog.text
    assert f"not initialised from {start}: 0.weight: expected (9, 4), found (8, 4)" in caplog.text
    assert second.optimizer.state[second.model[2].bias]["step"] == 5


def test_weights_of_which_nothing_fits_are_refused(tmp_path):
    train(build(tmp_path / "first", max_epochs=1))
    start = str(tmp_path / "first" / "checkpoints" / "latest" / "model.safetensors")
    with pytest.raises(RequestError, match=r"init_from: nothing in .* fits the model"):
        train(build(tmp_path / "second", model=nn.Bilinear(1, 1, 1), max_epochs=1, init_from=start))
    with pytest.raises(RequestError, match="init_from: nowhere is neither"):
        train(build(tmp_path / "third", max_epochs=1, init_from="nowhere"))


def test_checkpoint_that_does_not_fit_says_which_tensors(tmp_path):
    train(build(tmp_path, max_epochs=1))
    with pytest.raises(CheckpointError, match=r"0.weight: expected \(9, 4\), found \(8, 4\)"):
        build(tmp_path, model=net(9)).test([loader(6)])
