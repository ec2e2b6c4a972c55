import numpy as np
from torch.utils.data import Dataset


class Pairs(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        clean = np.sin(np.arange(1600, dtype="float32") * (0.02 + 0.01 * index))
        return clean + 0.1 * np.random.randn(1600).astype("float32"), clean
