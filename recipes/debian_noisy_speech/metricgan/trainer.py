"""Two models in one step: a generator, and a discriminator that learns what PESQ says, and so gives it a gradient."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from band_gain_gru.trainer import ALL
from band_gain_gru.trainer import Trainer as EnhancementTrainer
from metricgan.loss import as_batch, require_pesq, with_scores

from audiozen.metrics import Scorer

if TYPE_CHECKING:
    from metricgan.loss import History
    from torch import Tensor


class Trainer(EnhancementTrainer):
    """Trains the models ``generator`` and ``discriminator``, each with the optimizer of its name.

    The loss function is that of the generator. It is called with the discriminator's verdicts, the enhanced and the
    clean waveforms.

    Args:
        history: enhanced signals of earlier steps, some of which are judged again in each step.
        judges_noisy: whether the discriminator learns the scores of noisy signals, too.
    """

    automatic_optimization = False

    def __init__(self, *args: Any, history: History, judges_noisy: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.history, self.judges_noisy = history, judges_noisy
        self.register("history", history)

    def train(self, train_dataloader: Any, validation_dataloaders: Any = ()) -> None:
        require_pesq()
        super().train(train_dataloader, validation_dataloaders)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        noisy, clean = batch
        enhanced = self.model["generator"](noisy)
        scorer = Scorer(["pesq_wb"], self.sample_rate)
        estimates = [enhanced.detach(), noisy] if self.judges_noisy else [enhanced.detach()]
        pending = [scorer.submit(self.metric_pool, estimate, clean) for estimate in estimates]
        # While PESQ is computed:
        verdicts = self.model["discriminator"](enhanced, clean)
        loss = self.step("generator", self.loss_function(verdicts, enhanced, clean))
        scored = [with_scores(e, clean, scores.result()) for e, scores in zip(estimates, pending)]
        discriminator_loss = self.discriminator_step(clean, scored)
        self.history.add(scored[0])
        return {
            "loss": loss,
            "discriminator_loss": discriminator_loss,
            "num_unscored": len(clean) * len(scored) - sum(map(len, scored)),
        }

    def discriminator_step(self, clean: Tensor, scored: Any) -> Tensor:
        """Towards the scores: 1 of what is clean, those of this batch, and those of some signals of earlier ones."""
        of_clean = [(signal, signal, 1.0) for signal in clean]
        signals, scores = as_batch([*of_clean, *chain(*scored), *self.history.draw()], self.device)
        # The backward pass of the generator went through the discriminator, and left gradients there.
        self.optimizer["discriminator"].zero_grad()
        errors = self.model["discriminator"](*signals) - scores
        return self.step("discriminator", errors.square().mean())

    def step(self, name: str, loss: Tensor) -> Tensor:
        """One step of one of the two models."""
        self.backward(loss)
        self.optimizer_step(name)
        self.log(f"grad_norm_{name}", self.grad_norm)
        return loss.detach()

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        enhanced = self.predict_step(batch[0], batch_idx)
        for name, waveform in zip(batch[-1]["id"], enhanced):
            self.log_audio(f"{name}/enhanced", waveform, self.sample_rate)
        return self.scores(batch, enhanced, ["si_sdr", "pesq_wb", "stoi"])

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        noisy, clean, labels = batch
        enhanced = self.predict_step(noisy, batch_idx)
        self.save_audio(labels["id"], noisy=noisy, enhanced=enhanced, clean=clean)
        return self.scores(batch, enhanced, ALL)

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        return self.model["generator"](batch)
