from __future__ import annotations

import pytest
from torch import nn

from audiozen.complexity import Parameters, count_parameters
from tests.complexity.models import GTCRN, BCResNet, ConvTasNet, FullSubNet


@pytest.mark.parametrize(
    ("model", "total", "trainable"),
    [
        (FullSubNet(), 5_637_635, 5_637_635),
        (ConvTasNet(), 5_050_545, 5_050_545),
        (ConvTasNet(last_residual=False), 4_984_881, 4_984_881),
        (GTCRN(), 48_245, 23_669),
        *(
            (BCResNet(width), total, total)
            for width, total in zip(
                (1, 1.5, 2, 3, 6, 8), (9_232, 17_154, 27_284, 54_168, 187_812, 321_068)
            )
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else f"{value:,}",
)
def test_published_models_have_their_published_size(
    model: nn.Module, total: int, trainable: int
) -> None:
    assert count_parameters(model) == Parameters(total, trainable)


def test_parts_of_published_models_have_their_published_size() -> None:
    model = GTCRN()
    parts = (model.encoder, *model.dual_path, model.decoder)
    assert [count_parameters(part).total for part in parts] == [7944, 4192, 4192, 7341]
    model = FullSubNet()
    for size, parts in (
        (3_812_097, (model.full_band, model.full_band_output)),
        (1_825_538, (model.sub_band, model.sub_band_output)),
    ):
        assert sum(count_parameters(part).total for part in parts) == size


def test_shared_weights_count_once_and_frozen_ones_do_not_train() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4, bias=False))
    model[1].weight = model[0].weight
    model[0].bias.requires_grad_(requires_grad=False)
    assert count_parameters(model) == Parameters(total=20, trainable=16)


def test_buffers_are_no_parameters() -> None:
    assert count_parameters(nn.BatchNorm1d(3)) == Parameters(total=6, trainable=6)
