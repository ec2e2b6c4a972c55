from __future__ import annotations

from pathlib import Path

import pytest

from audiozen.cli.main import main
from audiozen.tables.files import read_csv


@pytest.mark.parametrize("ckpt", ["best", "latest", "epoch_0001", "exp/baseline/checkpoints/best"])
def test_checkpoint_may_be_named_in_any_way(
    ckpt: str, trained: Path, quick: list[str], capsys: pytest.CaptureFixture
) -> None:
    assert main(["test", str(trained), *quick, "--ckpt", ckpt]) == 0
    output, messages = capsys.readouterr()
    assert "si_sdr" in output
    assert "validation signals as well" not in messages
    table = read_csv("exp/baseline/metrics/test.csv")
    assert [row["id"] for row in table] == [f"tone_{20000 + index}" for index in range(4)]


def test_checkpoint_that_is_missing_is_a_wrong_request(
    trained: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["test", str(trained), "--ckpt", "epoch_0009"]) == 2
    message = capsys.readouterr().err
    assert "no checkpoint 'epoch_0009'" in message
    assert "epoch_0001" in message
    assert "--ckpt" in message


def test_testing_leaves_the_checkpoints_alone(trained: Path, quick: list[str]) -> None:
    def contents() -> dict[Path, bytes]:
        files = Path("exp/baseline/checkpoints").rglob("*")
        return {path: path.read_bytes() for path in files if path.is_file()}

    before = contents()
    assert main(["test", str(trained), *quick]) == 0
    assert contents() == before
