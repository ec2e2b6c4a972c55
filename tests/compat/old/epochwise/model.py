from torch import nn

from audiozen.models.module.sequence_model import SequenceModel


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.sequence = SequenceModel(257, 16)
        self.output = nn.Linear(16, 257)

    def forward(self, magnitude):
        hidden, _ = self.sequence(magnitude.transpose(1, 2))
        return self.output(hidden).sigmoid().transpose(1, 2)
