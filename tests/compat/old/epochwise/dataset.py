import random

import numpy as np

from audiozen.acoustics.audio_feature import tune_dB_FS
from audiozen.dataset.base_dataset import BaseDataset


class Mixtures(BaseDataset):
    def __init__(self, num_signals):
        super().__init__()
        self.num_signals = num_signals

    def __len__(self):
        return self.num_signals

    def __getitem__(self, index):
        clean = np.sin(np.arange(1600, dtype="float32") * (0.02 + 0.01 * index))
        clean, _, _ = tune_dB_FS(clean, target_dB_FS=random.randint(-30, -20))
        noise = 0.01 * np.random.randn(1600).astype("float32")
        return clean + noise, clean, f"mixture_{index}"
