import torch
from accelerate.logging import get_logger

from audiozen.metric import SISDR, STOI
from audiozen.trainer import Trainer as BaseTrainer

logger = get_logger(__name__)


class Trainer(BaseTrainer):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.north_star_metric = "si_sdr"
        self.si_sdr = SISDR()
        self.stoi = STOI(sr=self.sr)

    def enhance(self, noisy):
        mag, _, real, imag = self.torch_stft(noisy)
        mask = self.model(mag)
        return self.torch_istft(torch.complex(mask * real, mask * imag), length=noisy.shape[-1])

    def training_step(self, batch, batch_idx):
        self.optimizer.zero_grad()
        noisy, clean, _ = batch
        loss = self.loss_function(self.enhance(noisy), clean)
        self.accelerator.backward(loss)
        self.optimizer.step()
        return {"loss": loss}

    def training_epoch_end(self, training_epoch_output):
        losses = [step_output["loss"] for step_output in training_epoch_output]
        loss = sum(losses) / len(losses)
        if self.accelerator.is_local_main_process:
            self.writer.add_scalar("Train/Loss", loss, self.state.epochs_trained)

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        noisy, clean, names = batch
        enhanced = self.enhance(noisy)
        scores = {"name": names[0]}
        scores |= self.si_sdr(enhanced.cpu().numpy(), clean.cpu().numpy())
        scores |= self.stoi(enhanced.cpu().numpy(), clean.cpu().numpy())
        return [scores]

    def validation_epoch_end(self, outputs, log_to_tensorboard=True):
        score = 0.0
        for dataloader_idx, dataloader_outputs in enumerate(outputs):
            rows = [row for step_output in dataloader_outputs for row in step_output]
            name = f"dl_{dataloader_idx}_epoch_{self.state.epochs_trained}_{self._get_time_now()}"
            lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
            (self.metrics_dir / f"{name}.csv").write_text("\n".join(lines))
            for key in ("si_sdr", "stoi"):
                mean = sum(row[key] for row in rows) / len(rows)
                if log_to_tensorboard:
                    tag = f"metrics_{dataloader_idx}/{key}"
                    self.writer.add_scalar(tag, mean, self.state.epochs_trained)
                if key == self.north_star_metric:
                    score += mean
        logger.info("score %.3f on %s", score, self.accelerator.device)
        return score

    def test_step(self, *args, **kwargs):
        return self.validation_step(*args, **kwargs)

    def test_epoch_end(self, outputs):
        return self.validation_epoch_end(outputs, log_to_tensorboard=False)
