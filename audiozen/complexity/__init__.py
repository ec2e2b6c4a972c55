"""What a model costs and how late it answers: parameters, multiply-accumulates, look-ahead, real-time factor.

>>> from torch import nn, zeros
>>> count_parameters(nn.Linear(3, 2))
Parameters(total=8, trainable=8)
>>> count_macs(nn.Linear(3, 2), zeros(5, 3))
30
>>> look_ahead(nn.Conv1d(1, 1, 5, padding="same"), sample_rate=1000)
LookAhead(samples=2, sample_rate=1000)
"""

from __future__ import annotations

from audiozen.complexity.describe import describe
from audiozen.complexity.look_ahead import LookAhead, look_ahead
from audiozen.complexity.macs import count_macs, macs_per_second
from audiozen.complexity.parameters import Parameters, count_parameters
from audiozen.complexity.real_time import cpu_name, real_time_factor, streaming_real_time_factor

__all__ = [
    "LookAhead",
    "Parameters",
    "count_macs",
    "count_parameters",
    "cpu_name",
    "describe",
    "look_ahead",
    "macs_per_second",
    "real_time_factor",
    "streaming_real_time_factor",
]
