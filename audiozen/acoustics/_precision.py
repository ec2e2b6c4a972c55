"""What half precision is too coarse for."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_float32(waveform: Tensor) -> Tensor:
    """The waveform itself, or a float32 copy of one in half precision."""
    return waveform.float() if waveform.dtype in (torch.float16, torch.bfloat16) else waveform
