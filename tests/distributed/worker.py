"""What the processes of these tests run: ``worker.py SCENARIO FOLDER``. Each prints one JSON document at its end."""

from __future__ import annotations

import collections
import json
import math
import os
import signal
import sys
import time
import warnings
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from audiozen import BaseTrainer
from audiozen.errors import Preempted, TrainingError
from audiozen.testing import RecordingTracker

warnings.simplefilter("error")

NUM_SAMPLES = 37
RANK, WORLD_SIZE = (int(os.environ.get(name, "0")) for name in ("RANK", "WORLD_SIZE"))


# ---- training: the same work ---------------------------------------------------------------------------


class Numbered(Dataset):
    """Random samples that know their index; what is random in them is drawn when they are loaded."""

    def __init__(self, num_samples: int = NUM_SAMPLES) -> None:
        self.x = torch.randn(num_samples, 6, generator=torch.Generator().manual_seed(1))

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int):
        return self.x[index] + 0.1 * torch.randn(6), self.x[index, :2].cumsum(0), index


class WeightedError(nn.Module):
    """A loss with a weight of its own, which belongs to no model."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(()))

    def forward(self, estimate, target):
        error = (estimate - target).square().mean()
        return error * torch.exp(-self.log_scale) + self.log_scale


class Trainer(BaseTrainer):
    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.seen = []
        self.epochs = []

    def training_step(self, batch, batch_idx):
        x, y, index = batch
        self.seen.append(index.tolist())
        loss = self.loss_function(self.model(x), y)
        self.log("mean_index", index.float().mean())
        return {"loss": loss, "first": x[:, 0].mean()}

    def training_epoch_end(self, training_epoch_output):
        self.epochs.append(training_epoch_output)

    def validation_step(self, batch, batch_idx):
        x, y, index = batch
        return {
            "id": [str(i) for i in index.tolist()],
            "mse": (self.model(x) - y).square().mean(-1),
        }


def make_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.LayerNorm(16), nn.Tanh(), nn.Linear(16, 2))


def make_trainer(
    exp_dir: Path, cls=Trainer, model=None, *, resume: bool = False, **config
) -> Trainer:
    model, loss_function = model or make_model(), WeightedError()
    optimizer = torch.optim.AdamW([*model.parameters(), *loss_function.parameters()], lr=0.01)
    settings = {"log_interval": 1, "higher_is_better": False, "max_grad_norm": 0.5} | config
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 20, 0.5)
    return cls(
        model, optimizer, loss_function, schedule, config=settings, exp_dir=exp_dir, resume=resume
    )


def loader(batch_size: int, num_samples: int = NUM_SAMPLES, **settings) -> DataLoader:
    return DataLoader(Numbered(num_samples), batch_size=batch_size, **settings)


def rows(exp_dir: Path) -> list[dict]:
    text = (exp_dir / "metrics" / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def train_the_same(folder: Path) -> dict:
    """50 steps of 12 samples in epochs of 41, which end with 2 and 3 or 1, 2 and 2 samples for the processes; and 50 of
    2 x 6 in epochs of 38, which end with 1 and 1 or 0, 1 and 1. "free" is the former without measuring any gradient.
    """
    results = {}
    strategies = ["auto"] if WORLD_SIZE == 1 else ["ddp", "fsdp"]
    for strategy in strategies:
        for kind in ("1", "2", "free"):
            accumulation, num_samples = (2, 38) if kind == "2" else (1, 41)
            free = {"on_nonfinite": "ignore", "max_grad_norm": math.inf, "log_interval": 100}
            exp_dir = folder / f"{strategy}_{kind}"
            trainer = make_trainer(
                exp_dir,
                strategy=strategy,
                max_steps=50,
                gradient_accumulation_steps=accumulation,
                ema_decay=0.9,
                **(free if kind == "free" else {}),
            )
            batch_size = 12 // accumulation // WORLD_SIZE
            trainer.train(loader(batch_size, num_samples, shuffle=True), loader(5))
            results[f"{strategy} {kind}"] = {
                "seen": trainer.seen,
                "epochs": trainer.epochs,
                "weights": [p.tolist() for p in trainer.model.parameters()],
                "loss_weight": trainer.loss_function.log_scale.item(),
                "rows": rows(exp_dir) if RANK == 0 else [],
                "best": trainer.state.best_score,
            }
    return results


# ---- evaluation: exact ------------------------------------------------------------------------------------


class Ragged(Dataset):
    """Signals of different lengths."""

    def __init__(self, num_signals: int) -> None:
        generator = torch.Generator().manual_seed(num_signals)
        lengths = torch.randint(40, 400, [num_signals], generator=generator).tolist()
        self.signals = [torch.randn(length, generator=generator) for length in lengths]

    def __len__(self) -> int:
        return len(self.signals)

    def __getitem__(self, index: int):
        return self.signals[index], index


def pad(samples):
    signals, indices = zip(*samples)
    lengths = [len(signal) for signal in signals]
    return nn.utils.rnn.pad_sequence(signals, batch_first=True), lengths, indices


def halves(numbers):
    return {"half": [number / 2 for number in numbers]}


class Evaluator(BaseTrainer):
    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.outputs = []

    def training_step(self, batch, batch_idx):
        x, _, _ = batch
        return self.model(x[:, None]).square().mean()

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        x, lengths, indices = batch
        estimate = self.model(x[:, None])[:, 0] + torch.randn(1)
        scores = [e[:n].square().mean() for e, n in zip(estimate, lengths)]
        self.log("last_index", indices[-1])
        self.log_audio(f"{dataloader_idx}_{indices[0]}", estimate[0, : lengths[0]], 8000)
        beside = self.metric_pool.submit(halves, lengths)
        return {
            "id": [str(i) for i in indices],
            "power": scores,
            "length": lengths,
            "beside": beside,
        }

    def validation_epoch_end(self, validation_epoch_output):
        self.outputs.append(validation_epoch_output)
        return super().validation_epoch_end(validation_epoch_output)


def evaluate_exactly(folder: Path) -> dict:
    """Several sets of datasets; counts how often objects are gathered."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv1d(1, 8, 9, padding=4), nn.BatchNorm1d(8), nn.Conv1d(8, 1, 9, padding=4)
    )
    results = {}
    for name, sizes, batch_size in (
        ("13", [13], 1),
        ("13 in batches", [13], 4),
        ("one", [1], 2),
        ("few", [2], 1),
        ("several", [13, 1, 2, 7], 3),
    ):
        tracker = RecordingTracker()
        trainer = Evaluator(
            model,
            config={"best_metric": "power", "num_threads": 1},
            exp_dir=folder / name,
            tracker=tracker,
        )
        loaders = [DataLoader(Ragged(n), batch_size, collate_fn=pad) for n in sizes]
        with counted_gathers() as gathers:
            score = trainer.validate(loaders)
        results[name] = {
            "score": score.hex(),
            "outputs": repr(exact(trainer.outputs)),
            "tables": {
                p.name: p.read_text() for p in sorted((folder / name / "metrics").glob("*.csv"))
            },
            "logged": repr(tracker.scalars) if RANK == 0 else "",
            "heard": repr(tracker.audio) if RANK == 0 else "",
            "gathers": dict(gathers),
        }
    return results


def exact(value):
    """The same, with every bit of each number written out."""
    if isinstance(value, torch.Tensor):
        return exact(value.tolist())
    if isinstance(value, dict):
        return {key: exact(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [exact(item) for item in value]
    return value.hex() if isinstance(value, float) else value


@contextmanager
def counted_gathers():
    """Within this context, exchanges of objects are counted by name."""
    before = {n: getattr(dist, n) for n in ("gather_object", "all_gather_object")}
    counts = collections.Counter()
    for name, function in before.items():

        def counted(*args, _name=name, _function=function, **kwargs):
            counts[_name] += 1
            return _function(*args, **kwargs)

        setattr(dist, name, counted)
    try:
        yield counts
    finally:
        for name, function in before.items():
            setattr(dist, name, function)


# ---- several optimizers ------------------------------------------------------------------------------------


class Adversaries(BaseTrainer):
    """A generator and a discriminator with batch statistics; each step trains both."""

    automatic_optimization = False

    def training_step(self, batch, batch_idx):
        x, y, _ = batch
        generator, discriminator = self.model["generator"], self.model["discriminator"]
        fake = generator(x)
        real_score, fake_score = discriminator(y), discriminator(fake.detach())
        loss_d = (real_score - 1).square().mean() + fake_score.square().mean()
        self.backward(loss_d)
        self.optimizer_step("discriminator")
        loss_g = (discriminator(fake) - 1).square().mean() + (fake - y).square().mean()
        self.backward(loss_g)
        self.optimizer_step("generator")
        return {"loss": loss_g.detach(), "loss_d": loss_d.detach()}


def train_adversaries(folder: Path) -> dict:
    results = {}
    for strategy in ["auto"] if WORLD_SIZE == 1 else ["ddp", "fsdp"]:
        torch.manual_seed(0)
        model = {
            "generator": nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 2)),
            "discriminator": nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1)),
        }
        trainer = Adversaries(
            model,
            {name: torch.optim.Adam(m.parameters(), lr=0.01) for name, m in model.items()},
            config={"strategy": strategy, "max_steps": 30, "log_interval": 1},
            exp_dir=folder / f"gan_{strategy}",
        )
        trainer.train(loader(12 // WORLD_SIZE, shuffle=True))
        results[strategy] = {
            name: [p.tolist() for p in m.parameters()] for name, m in trainer.model.items()
        }
    return results


# ---- another number of processes ----------------------------------------------------------------------------


def go_on(folder: Path) -> dict:
    """Train some steps of the run in ``folder/run``, whatever it was trained by before."""
    strategy, batch_size, max_steps = sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
    trainer = make_trainer(
        folder / "run",
        resume=True,
        strategy=strategy,
        max_steps=max_steps,
        ema_decay=0.9,
        max_num_checkpoints=20,
        **json.loads(sys.argv[6]) if len(sys.argv) > 6 else {},
    )
    trainer.train(loader(batch_size, shuffle=True), loader(5))
    return {
        "seen": trainer.seen,
        "epoch": trainer.state.epoch,
        "step": trainer.state.step,
        "position": trainer.state.position,
        "best": trainer.state.best_score,
        "weights": [p.tolist() for p in trainer.model.parameters()],
        "output": trainer.training_epoch_output.floats(),
    }


# ---- data of other kinds ------------------------------------------------------------------------------------


class Dealt(IterableDataset):
    """Deals its samples by itself, more to process 1."""

    def __iter__(self):
        samples = Numbered()
        return iter([samples[index] for index in range(RANK, 9 + 6 * RANK, WORLD_SIZE)])


def draw_unevenly(folder: Path) -> dict:
    trainer = make_trainer(folder / "run", max_epochs=2)
    trainer.train(DataLoader(Dealt(), batch_size=2))
    return {"seen": trainer.seen, "step": trainer.state.step}


def bucket(folder: Path) -> dict:
    """Batches from a sampler of one's own, twelve of 3 samples and one of 1; dealt in turn."""
    indices = list(range(NUM_SAMPLES))
    batches = [indices[i : i + 3] for i in range(0, NUM_SAMPLES, 3)]
    trainer = make_trainer(
        folder / "run", max_epochs=2, gradient_accumulation_steps=4 // WORLD_SIZE
    )
    trainer.train(DataLoader(Numbered(), batch_sampler=batches))
    return {
        "seen": trainer.seen,
        "step": trainer.state.step,
        "weights": [p.tolist() for p in trainer.model.parameters()],
    }


def drop_the_last(folder: Path) -> dict:
    """Epochs of 22 samples, of which the last short batch is left out."""
    trainer = make_trainer(folder / "run", resume=True, max_steps=int(sys.argv[3]))
    trainer.train(loader(4, 22, drop_last=True))
    return {"seen": trainer.seen, "epoch": trainer.state.epoch, "step": trainer.state.step}


def decide_alike(folder: Path) -> dict:
    """Clocks that go at different speeds; a score that stays the same; patience."""
    trainer = make_trainer(
        folder / "run",
        max_epochs=50,
        patience=3,
        best_metric="constant",
        save_interval={"epochs": None, "minutes": 0.01},
        validation_interval={"steps": 40},
        max_num_checkpoints=100,
    )
    trainer.save_due.clock = lambda: time.monotonic() * (1 + 3 * RANK)
    trainer.validation_step = lambda batch, batch_idx: {"constant": torch.ones(len(batch[0]))}
    saved = []
    save = trainer.save_checkpoint
    trainer.save_checkpoint = lambda: (saved.append(trainer.state.step), save())
    trainer.training_epoch_end = lambda output: time.sleep(0.1)
    trainer.train(loader(3), loader(5))
    state = trainer.state
    return {
        "saved": saved,
        "step": state.step,
        "waited": state.validations_without_improvement,
        "best": state.best_checkpoint,
    }


def predict_some(folder: Path) -> dict:
    """Process 0 has enough after its first batch."""
    trainer = make_trainer(folder / "run")
    trainer.model.register_forward_pre_hook(lambda module, batch: batch[0][0])
    seen = []
    for output in trainer.predictions(loader(5), ckpt_path=None):
        seen.append(output.batch_idx)
        if RANK == 0:
            break
    return {"seen": seen}


# ---- what goes wrong ------------------------------------------------------------------------------------------


class Misfortune(Trainer):
    """Something happens in ``place`` on process ``victim``."""

    place, victim, what = "", 0, "raise"

    def strike(self, place: str) -> None:
        if place != self.place or self.victim != RANK:
            return
        if self.what == "raise":
            raise ValueError(f"misfortune in {place}")
        if self.what == "sleep":
            time.sleep(600)
        time.sleep(1.3)  # so that the others know where it was
        os.kill(os.getpid(), getattr(signal, self.what))

    def training_step(self, batch, batch_idx):
        if self.state.step == 5:
            self.strike("training_step")
        return super().training_step(batch, batch_idx)

    def training_epoch_end(self, training_epoch_output):
        self.strike("training_epoch_end")
        super().training_epoch_end(training_epoch_output)

    def validation_step(self, batch, batch_idx):
        if batch_idx >= 2:
            self.strike("validation_step")
        return super().validation_step(batch, batch_idx)

    def validation_epoch_end(self, validation_epoch_output):
        self.strike("validation_epoch_end")
        return super().validation_epoch_end(validation_epoch_output)


def meet_misfortune(folder: Path) -> dict:
    Misfortune.place, Misfortune.victim, Misfortune.what = (
        sys.argv[3],
        int(sys.argv[4]),
        sys.argv[5],
    )
    trainer = make_trainer(
        folder / "run",
        cls=Misfortune,
        resume=True,
        strategy=sys.argv[6],
        max_epochs=3,
        stall_timeout=3.0,
        contact_timeout=2.0,
    )
    if Misfortune.what == "nothing":
        Misfortune.place = ""
    try:
        trainer.train(loader(3, shuffle=True), loader(5))
    except Preempted as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    return {"weights": [p.tolist() for p in trainer.model.parameters()]}


class Wayward(Trainer):
    """Process 1 goes another way than process 0."""

    way = ""

    def training_step(self, batch, batch_idx):
        x, y, _ = batch
        if self.way == "around the model":  # gradients are exchanged by the model as a whole
            return (self.bare(x) - y).square().mean()
        return super().training_step(batch, batch_idx)

    def training_epoch_end(self, training_epoch_output):
        if self.way == "early return" and RANK == 1:
            return
        if self.way == "early return":
            self.group.wait("something that not all do")


def go_astray(folder: Path) -> dict:
    Wayward.way = sys.argv[3]
    trainer = make_trainer(folder, cls=Wayward, max_epochs=2, stall_timeout=4.0)
    trainer.bare = trainer.model
    try:
        trainer.train(loader(3))
    except TrainingError as error:
        sys.exit(f"error: {error}")
    return {}


SCENARIOS = {
    scenario.__name__: scenario
    for scenario in (
        train_the_same,
        evaluate_exactly,
        train_adversaries,
        go_on,
        draw_unevenly,
        bucket,
        drop_the_last,
        decide_alike,
        predict_some,
        meet_misfortune,
        go_astray,
    )
}

if __name__ == "__main__":
    print(json.dumps(SCENARIOS[sys.argv[1]](Path(sys.argv[2]))))
