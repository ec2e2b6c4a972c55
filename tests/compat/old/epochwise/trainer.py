from audiozen.acoustics.audio_feature import save_wav
from audiozen.metric import SISDR
from audiozen.trainer.base_trainer import BaseTrainer


class Trainer(BaseTrainer):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.si_sdr = SISDR()

    def training_step(self, batch, batch_idx):
        noisy, clean, _ = batch
        noisy = noisy.to(self.rank)
        clean = clean.to(self.rank)
        noisy_mag, _, _, _ = self.torch_stft(noisy)
        clean_mag, _, _, _ = self.torch_stft(clean)
        return self.loss_function(self.model(noisy_mag) * noisy_mag, clean_mag)

    def training_epoch_end(self, training_epoch_output):
        loss = sum(training_epoch_output) / len(training_epoch_output)
        self.writer.add_scalar("Loss/Train", loss, self.current_epoch)

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        noisy, clean, names = batch
        mag, phase, _, _ = self.torch_stft(noisy.to(self.rank))
        mask = self.model.module(mag)
        enhanced = self.torch_istft([mask * mag, phase], length=noisy.shape[-1])
        return enhanced.cpu(), clean, names

    def validation_epoch_end(self, outputs):
        score = 0.0
        for dataloader_idx, steps in enumerate(outputs):
            for enhanced, clean, names in steps:
                score += self.si_sdr(enhanced.numpy(), clean.numpy())["si_sdr"] / len(steps)
                save_wav(enhanced[0].numpy(), self.enhanced_dir / f"{names[0]}.wav", self.sr)
            self.writer.add_scalar(f"SI_SDR/{dataloader_idx}", score, self.current_epoch)
        return score

    def test_step(self, batch, batch_idx, dataloader_idx=0):
        return self.validation_step(batch, batch_idx, dataloader_idx)

    def test_epoch_end(self, outputs):
        return self.validation_epoch_end(outputs)
