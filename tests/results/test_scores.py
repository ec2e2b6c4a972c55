from __future__ import annotations

from pathlib import Path

import pytest

from audiozen.errors import RequestError
from audiozen.results.scores import read_all_scores
from audiozen.tables.files import write_csv, write_table

RECORDS = [{"id": "a", "stoi": 0.5}, {"id": "b", "stoi": 0.75}]


def make_run(root: Path, *tables: str, args: str = "") -> Path:
    root.mkdir(parents=True)
    (root / "config.toml").write_text(f"[trainer.args]\n{args}")
    for table in tables:
        write_csv(root / "metrics" / f"{table}.csv", RECORDS)
    return root


def test_run_gives_its_tables_by_dataset(tmp_path: Path) -> None:
    run = make_run(tmp_path / "exp" / "large", "test_seen", "test_unseen")
    other = make_run(tmp_path / "exp" / "small", "test")
    first, second = read_all_scores([run, other])
    assert (first.name, second.name) == ("large", "small")
    assert first.tables == {"seen": RECORDS, "unseen": RECORDS}
    assert second.tables == {"test": RECORDS}


def test_validation_is_that_of_the_best_checkpoint(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "valid_epoch_0001", "valid_epoch_0002_step_00000010", "test")
    (run / "checkpoints" / "epoch_0002_step_00000010").mkdir(parents=True)
    (run / "checkpoints" / "best").symlink_to("epoch_0002_step_00000010")
    (scores,) = read_all_scores([run], "valid")
    assert scores.tables == {"valid": RECORDS}


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_table_is_a_system_of_its_own(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"theirs{suffix}"
    write_table(path, RECORDS)
    (scores,) = read_all_scores([str(path)])
    assert scores.name == "theirs"
    assert scores.tables == {"theirs": RECORDS}


def test_systems_of_one_name_are_called_by_their_paths(tmp_path: Path) -> None:
    paths = [make_run(tmp_path / place / "baseline", "test") for place in ("old", "new")]
    assert [scores.name for scores in read_all_scores(paths)] == [str(path) for path in paths]


def test_direction_of_the_score_is_known_where_the_run_states_it(tmp_path: Path) -> None:
    stated = make_run(
        tmp_path / "a", "test", args='best_metric = "wer"\nhigher_is_better = false\n'
    )
    silent = make_run(tmp_path / "b", "test")
    first, second = read_all_scores([stated, silent])
    assert first.higher_is_better == {"wer": False}
    assert second.higher_is_better == {}


def test_what_is_no_system_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "test")
    with pytest.raises(RequestError, match="does not exist; expected the folder of a run"):
        read_all_scores([tmp_path / "nowhere"])
    with pytest.raises(RequestError, match="not the folder of a run"):
        read_all_scores([tmp_path])
    (tmp_path / "table.txt").touch()
    with pytest.raises(RequestError, match=r"table\.txt: a table is called"):
        read_all_scores([tmp_path / "table.txt"])
    with pytest.raises(RequestError, match="given twice"):
        read_all_scores([run, tmp_path / "." / "run"])
    with pytest.raises(RequestError, match="has no valid table; audiozen validate CONFIG"):
        read_all_scores([run], "valid")
