from accelerate.logging import get_logger

from audiozen.loss import SISNRLoss
from audiozen.trainer.base_trainer_gan_accelerate import BaseTrainer

logger = get_logger(__name__)


class Trainer(BaseTrainer):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.si_snr = SISNRLoss()

    def training_step(self, batch, batch_idx):
        noisy, clean = batch

        self.optimizer_g.zero_grad()
        enhanced = self.model_g(noisy)
        loss_fake = (1 - self.model_d(enhanced)).square().mean()
        loss_g = self.loss_function(enhanced, clean) + 0.1 * loss_fake
        self.accelerator.backward(loss_g)
        self.optimizer_g.step()

        self.optimizer_d.zero_grad()
        verdict_clean, verdict_enhanced = self.model_d(clean), self.model_d(enhanced.detach())
        loss_d = (1 - verdict_clean).square().mean() + verdict_enhanced.square().mean()
        self.accelerator.backward(loss_d)
        self.optimizer_d.step()

        return {"loss_g": loss_g.item(), "loss_d": loss_d.item()}

    def training_epoch_end(self, training_epoch_output):
        for key in ("loss_g", "loss_d"):
            mean = sum(step[key] for step in training_epoch_output) / len(training_epoch_output)
            self.writer.add_scalar(f"Train/{key}", mean, self.current_epoch)

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        noisy, clean = batch
        return self.model_g(noisy), clean

    def validation_epoch_end(self, outputs):
        score = 0.0
        for enhanced, clean in outputs[0]:
            score -= float(self.si_snr(enhanced, clean)) / len(outputs[0])
        if self.accelerator.is_local_main_process:
            logger.info("epoch %d: %.2f", self.current_epoch, score)
        return score

    def test_step(self, batch, batch_idx, dataloader_idx=0):
        return self.validation_step(batch, batch_idx, dataloader_idx)

    def test_epoch_end(self, outputs):
        return self.validation_epoch_end(outputs)
