import numpy as np
from torch.utils.data import Dataset

from audiozen.acoustics.io import subsample


class Tones(Dataset):
    def __init__(self, num_signals, sr=16000, is_train=True):
        self.num_signals = num_signals
        self.sr = sr
        self.is_train = is_train

    def __len__(self):
        return self.num_signals

    def __getitem__(self, index):
        generator = np.random.default_rng(None if self.is_train else index)
        time = np.arange(self.sr // 5) / self.sr
        clean = 0.3 * np.sin(2 * np.pi * (200 + 20 * index) * time)
        noisy = clean + 0.1 * generator.standard_normal(len(clean))
        if self.is_train:
            noisy, start = subsample(noisy, self.sr // 10, return_start_idx=True)
            clean = subsample(clean, self.sr // 10, start_idx=start)
        return noisy.astype("float32"), clean.astype("float32"), f"tone_{index}"
