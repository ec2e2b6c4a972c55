import torch
from torch import nn

from audiozen.constant import EPSILON


class Masker(nn.Module):
    def __init__(self, num_freqs):
        super().__init__()
        self.layer = nn.Linear(num_freqs, num_freqs)

    def forward(self, magnitude):
        features = torch.log(magnitude + EPSILON).transpose(1, 2)
        return torch.sigmoid(self.layer(features)).transpose(1, 2)
