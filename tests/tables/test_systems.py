from __future__ import annotations

import math

import pytest

from audiozen.errors import RequestError
from audiozen.tables.systems import System, flat_records, system_rows

NAN = math.nan


def records(**changes: float) -> list[dict[str, object]]:
    return [
        {"id": "1", "noise": "cafe", "stoi": 0.8, "stoi_noisy": 0.7, **changes},
        {"id": "2", "noise": "bus", "stoi": 0.6, "stoi_noisy": NAN, "stoi_noisy__error": "odd"},
    ]


def means(rows: list) -> list[tuple]:
    return [(*row.labels.values(), row.num, round(row.summaries["stoi"].mean, 9)) for row in rows]


def test_noisy_signals_are_a_system_of_their_own() -> None:
    noisy, enhanced = system_rows([System("gtcrn", records())])
    assert (noisy.labels, noisy.num) == ({"system": "noisy"}, 2)
    assert noisy.summaries["stoi"].mean == 0.7
    assert noisy.summaries["stoi"].reasons == {"odd": 1}
    assert (enhanced.labels, list(enhanced.summaries)) == ({"system": "gtcrn"}, ["stoi"])
    assert not enhanced.summaries["stoi"].num_failed


def test_systems_that_got_the_same_signals_share_a_noisy_row() -> None:
    with_more = [{**record, "pesq": 2.0, "pesq_noisy": 1.5} for record in reversed(records())]
    with_more[1]["stoi_noisy"] = 0.7001  # another machine
    rows = system_rows([System("a", records()), System("b", with_more)])
    assert [row.labels["system"] for row in rows] == ["noisy", "a", "b"]
    assert rows[0].summaries["pesq"].mean == 1.5
    assert rows[0].summaries["stoi"].mean == 0.7


@pytest.mark.parametrize(
    "other",
    [
        records(stoi_noisy=0.71),
        records(stoi_noisy=NAN),
        records()[:1],
        [*records(), records()[0]],
        records(id="3"),
    ],
)
def test_systems_that_got_other_signals_have_noisy_rows_of_their_own(other: list) -> None:
    rows = system_rows([System("a", records()), System("b", other)])
    assert [row.labels["system"] for row in rows] == ["noisy (a)", "noisy (b)", "a", "b"]
    assert [row.num for row in rows] == [2, len(other), 2, len(other)]


def test_systems_without_noisy_scores_stand_alone() -> None:
    alone = [{"id": "1", "stoi": 0.5}]
    assert [row.labels["system"] for row in system_rows([System("a", alone)])] == ["a"]
    rows = system_rows([System("a", alone), System("b", records())])
    assert [row.labels["system"] for row in rows] == ["noisy", "a", "b"]


def test_groups_are_followed_by_a_row_of_all_signals() -> None:
    rows = system_rows([System("a", records()), System("b", [{"id": "1", "stoi": 0.1}])], ["noise"])
    assert means(rows[1:]) == [
        ("bus", "a", 1, 0.6),
        ("cafe", "noisy", 1, 0.7),
        ("cafe", "a", 1, 0.8),
        ("-", "b", 1, 0.1),
        ("all", "noisy", 2, 0.7),
        ("all", "a", 2, 0.7),
        ("all", "b", 1, 0.1),
    ]
    assert [row.is_part for row in rows] == [True] * 5 + [False] * 3


def test_column_to_group_by_may_hold_numbers_that_are_no_fact() -> None:
    numbered = [{**record, "snr": 5.0} for record in records()]
    rows = system_rows([System("a", numbered)], ["snr"])
    assert [list(row.labels.values()) for row in rows] == [
        ["5", "noisy"],
        ["5", "a"],
        ["all", "noisy"],
        ["all", "a"],
    ]
    assert list(rows[1].summaries) == ["stoi"]


def test_datasets_are_never_averaged_together() -> None:
    systems = [System("a", records(), "seen"), System("a", records()[:1], "unseen")]
    assert means(system_rows(systems)) == [
        ("seen", "noisy", 2, 0.7),
        ("seen", "a", 2, 0.7),
        ("unseen", "noisy", 1, 0.7),
        ("unseen", "a", 1, 0.8),
    ]
    grouped = means(system_rows(systems, ["noise"]))
    assert [row[:3] for row in grouped if row[1] == "all"] == [
        ("seen", "all", "noisy"),
        ("seen", "all", "a"),
        ("unseen", "all", "noisy"),
        ("unseen", "all", "a"),
    ]


def test_unknown_column_is_refused() -> None:
    with pytest.raises(RequestError, match="no column 'nois'; did you mean 'noise'"):
        system_rows([System("a", records())], ["nois"])


def test_system_without_signals_has_a_row_of_none() -> None:
    rows = system_rows([System("a", records()), System("b", [])], ["noise"])
    assert (rows[-1].labels["system"], rows[-1].num, rows[-1].summaries) == ("b", 0, {})


def test_flat_records_have_all_digits_and_counts() -> None:
    noisy, enhanced = flat_records(system_rows([System("a", records())]), ["stoi", "pesq"])
    assert (noisy["stoi_n"], noisy["stoi_failed"], noisy["pesq"], noisy["n"]) == (1, 1, None, 2)
    assert enhanced["stoi"] == 0.7
    assert enhanced["stoi_std"] == pytest.approx(0.1 * math.sqrt(2))
    assert list(enhanced)[:6] == ["system", "n", "stoi", "stoi_std", "stoi_n", "stoi_failed"]
