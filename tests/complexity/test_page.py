"""What docs/complexity.md says is what the code gives."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import nn

from audiozen import complexity, streaming
from audiozen.complexity import count_macs, count_parameters, look_ahead, macs_per_second
from tests.complexity.models import GTCRN, BCResNet, ConvTasNet, FullSubNet

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "complexity.md").read_text()


def row(start: str) -> str:
    (found,) = [line for line in PAGE.splitlines() if line.startswith(f"| {start} |")]
    return found


def size(model: nn.Module) -> str:
    return f"| {count_parameters(model).total:,} |"


def test_figures_of_the_table_are_those_of_the_code() -> None:
    model, second = FullSubNet(), torch.zeros(1, 16_000)
    assert size(model) in row("FullSubNet")
    assert f"{count_macs(model, second) / 1e9:.2f} G for 1 s" in row("FullSubNet")
    assert f"slope {macs_per_second(model, 16_000) / 1e9:.2f} G/s" in row("FullSubNet")
    for name, last_residual in (
        ("Conv-TasNet, 8 kHz", True),
        ("the same without the last residual convolution", False),
    ):
        model = ConvTasNet(last_residual=last_residual)
        assert f"{size(model)} {macs_per_second(model, 8000) / 1e9:.3f} G/s |" in row(name)
    per_frame = count_macs(GTCRN(), second[:, :256]) // 2
    assert f"| {per_frame:,} per frame, {per_frame * 62.5 / 1e6:.1f} M/s |" in row("GTCRN")
    for width in (1, 8):
        model = BCResNet(width)
        macs = count_macs(model, torch.zeros(1, 1, 40, 100)) / 1e6
        digits = 2 if macs < 10 else 1
        assert f"{size(model)} {macs:.{digits}f} M per clip" in row(f"BC-ResNet-{width}")
    assert f"{63 * per_frame / 1e6:.1f} M (both measured" in PAGE


def test_look_ahead_of_gtcrn_is_that_of_the_page() -> None:
    found = look_ahead(GTCRN(), 16_000)
    assert row("GTCRN, the same frames").endswith(
        f"| {found.samples} samples | {found.latency_ms():.2f} ms by the sample |"
    )


def test_names_of_the_page_exist() -> None:
    paths = re.findall(r"tests/[\w/]+(?:\.py)?", PAGE)
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []
    functions = re.findall(
        r"`(\w+)`(?:,| and|\.$)", PAGE.partition("own: ")[2].partition("\n\n")[0]
    )
    assert functions
    assert [name for name in functions if not hasattr(complexity, name)] == []
    for name in ("Streaming", "stream_through", "FrameByFrame"):
        assert name in PAGE
        assert hasattr(streaming, name)
