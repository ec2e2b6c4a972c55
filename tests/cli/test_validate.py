from __future__ import annotations

from pathlib import Path

import pytest

from audiozen.cli.main import main


def test_score_is_told_and_a_table_written(
    trained: Path, quick: list[str], capsys: pytest.CaptureFixture
) -> None:
    [table] = Path("exp/baseline/metrics").glob("valid*.csv")
    of_training = table.read_bytes()
    table.unlink()
    assert main(["validate", str(trained), *quick]) == 0
    assert "score " in capsys.readouterr().err
    assert table.read_bytes() == of_training


def test_without_validation_data_it_is_refused(
    trained: Path, capsys: pytest.CaptureFixture
) -> None:
    text = trained.read_text()
    start, end = text.index("[[validate_dataset]]"), text.index("[[test_dataset]]")
    config = trained.with_name("no_validation.toml")
    config.write_text(text[:start] + text[end:])
    assert main(["validate", str(config)]) == 2
    assert "[validate_dataset] missing" in capsys.readouterr().err
