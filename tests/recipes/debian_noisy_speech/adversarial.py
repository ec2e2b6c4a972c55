"""What the tests of recipes with a generator and a discriminator share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader

from audiozen.experiment import Experiment
from audiozen.metrics import pesq_wb

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor, nn

CORPUS = Path(__file__).resolve().parents[3] / "recipes" / "debian_noisy_speech"


def num_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def experiment_of(recipe: str, folder: Path, *overrides: str) -> Experiment:
    """Its ``smoke.toml`` with PESQ computed in this process, which spares the start of others."""
    settings = [f"meta.save_dir={folder}", "trainer.args.num_metric_workers=0", *overrides]
    return Experiment.from_file(CORPUS / recipe / "smoke.toml", settings)


def train(experiment: Experiment, *, resume: bool = False) -> Any:
    """Without validation; the trainer afterwards."""
    trainer = experiment.build_trainer(resume=resume)
    trainer.train(experiment.train_dataloader())
    return trainer


def train_on(trainer: Any, batches: list[Any]) -> Any:
    """On these batches, in this order; the trainer afterwards."""
    trainer.train(DataLoader(batches, batch_size=None, shuffle=False))
    return trainer


def files_of_latest(trainer: Any) -> dict[str, bytes]:
    """Content of the newest checkpoint by name of the file: weights, optimizers, history, everything."""
    folder = trainer.checkpoints_dir / "latest"
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def train_plainly(trainer: Any, batches: Iterable[Any], *, judges_noisy: bool) -> None:
    """The same as a loop that does one thing after the other, and shows everything earlier again in each step."""
    generator, discriminator = trainer.model["generator"], trainer.model["discriminator"]
    generator.train()
    discriminator.train()
    earlier: list[tuple[Tensor, Tensor, Tensor]] = []
    for noisy, clean in batches:
        enhanced = generator(noisy)
        verdicts = discriminator(enhanced, clean)
        trainer.optimizer["generator"].zero_grad()
        trainer.loss_function(verdicts, enhanced, clean).backward()
        trainer.optimizer["generator"].step()

        enhanced = enhanced.detach()
        estimates = torch.cat([enhanced, noisy]) if judges_noisy else enhanced
        references = clean.repeat(len(estimates) // len(clean), 1)
        scores = (pesq_wb(estimates, references).float() - 1) / 3.5
        is_scored = scores.isfinite()
        parts = [
            (clean, clean, torch.ones(len(clean))),
            (estimates[is_scored], references[is_scored], scores[is_scored]),
            *earlier,
        ]
        estimates, references, targets = map(torch.cat, zip(*parts))
        trainer.optimizer["discriminator"].zero_grad()
        (discriminator(estimates, references) - targets).square().mean().backward()
        trainer.optimizer["discriminator"].step()
        kept = is_scored[: len(clean)]
        earlier.append((enhanced[kept], clean[kept], scores[: len(clean)][kept]))
