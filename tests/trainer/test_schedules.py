from __future__ import annotations

import pytest
import torch

from audiozen.trainer.schedules import warmup_cosine


def rates(num_steps: int, **kwargs) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = warmup_cosine(optimizer, **kwargs)
    seen = []
    for _ in range(num_steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return seen


def test_known_values():
    seen = rates(9, num_warmup_steps=4, num_training_steps=8)
    assert seen == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.0, 1.7071068, 1.0, 0.2928932, 0.0])


def test_lowest_rate_and_beyond_the_end():
    seen = rates(14, num_warmup_steps=0, num_training_steps=10, min_ratio=0.1)
    assert seen[0] == 2.0
    assert seen[10:] == pytest.approx([0.2] * 4)


def test_warm_up_that_is_not_shorter_is_refused():
    with pytest.raises(ValueError, match=r"less than num_training_steps \(5\), got 5"):
        rates(1, num_warmup_steps=5, num_training_steps=5)
