from __future__ import annotations

from typing import Any

import pytest

from audiozen.errors import RequestError
from audiozen.results.pairing import pair_systems
from audiozen.results.scores import Scores

NAN = float("nan")


def system(name: str, *records: dict[str, Any], **columns: list[Any]) -> Scores:
    if columns:
        records = tuple(dict(zip(columns, values)) for values in zip(*columns.values()))
    return Scores(name, {"test": list(records)})


def ids(*names: str) -> list[dict[str, Any]]:
    return [{"id": name, "x": 1.0} for name in names]


def test_signals_are_paired_by_id_whatever_their_order() -> None:
    first = system("a", id=["u", "v", "w"], x=[1.0, 2.0, 3.0])
    second = system("b", id=["w", "u", "v"], x=[30.0, 10.0, 20.0])
    (pairs,) = pair_systems(first, second)
    assert [record["x"] for record in pairs.first] == [1.0, 2.0, 3.0]
    assert [record["x"] for record in pairs.second] == [10.0, 20.0, 30.0]
    assert pairs.dataset == "test"
    assert pairs.notes == []


def test_other_signals_are_refused_with_their_ids() -> None:
    first, second = system("a", *ids("u", "v", "w")), system("b", *ids("v", "w", "x", "y"))
    with pytest.raises(RequestError) as refusal:
        pair_systems(first, second)
    assert str(refusal.value).splitlines() == [
        "the signals differ; 2 are in both. Compare what both have with --common",
        "  1 only in a: u",
        "  2 only in b: x, y",
    ]


def test_at_most_ten_ids_are_listed() -> None:
    many = system("a", *ids(*(f"{number:02d}" for number in range(25))))
    with pytest.raises(RequestError) as refusal:
        pair_systems(many, system("b", *ids("00")))
    assert str(refusal.value).endswith(
        "24 only in a: 01, 02, 03, 04, 05, 06, 07, 08, 09, 10 and 14 more"
    )


def test_common_signals_are_compared_where_asked_for_and_the_others_told() -> None:
    first, second = system("a", *ids("u", "v", "w")), system("b", *ids("v", "w", "x", "y"))
    (pairs,) = pair_systems(first, second, common=True)
    assert [record["id"] for record in pairs.first] == ["v", "w"]
    assert pairs.notes == [
        "1 signals that only a has are left out",
        "2 signals that only b has are left out",
    ]


def test_nothing_in_common_is_refused_in_any_case() -> None:
    for common in (False, True):
        with pytest.raises(RequestError, match="0 are in both\n"):
            pair_systems(system("a", *ids("u")), system("b", *ids("v")), common=common)


def test_signals_that_cannot_be_told_apart_are_refused() -> None:
    one = system("b", *ids("u"))
    with pytest.raises(RequestError, match=r"a has several signals of the same id \(u\)"):
        pair_systems(system("a", *ids("u", "u")), one)
    with pytest.raises(RequestError, match="a has signals without an id"):
        pair_systems(system("a", {"x": 1.0}), one)
    with pytest.raises(RequestError, match="a has no signals"):
        pair_systems(system("a"), one)


def test_ids_that_are_numbers_may_be_read_as_text_or_numbers() -> None:
    (pairs,) = pair_systems(system("a", id=["17"], x=[1.0]), system("b", id=[17.0], x=[1.0]))
    assert len(pairs.first) == 1


def test_ids_that_only_count_are_told() -> None:
    first = system("a", *ids("0", "1", "2"))
    (pairs,) = pair_systems(first, system("b", *ids("0", "1", "2")))
    assert pairs.notes[0].startswith("warning: the ids are numbers in the order of the table")
    (pairs,) = pair_systems(system("a", *ids("1", "0")), system("b", *ids("1", "0")))
    assert pairs.notes == []


def test_other_inputs_are_told() -> None:
    first = system("a", id=["u", "v", "w"], x_noisy=[1.0, 2.0, NAN])
    near = system("b", id=["u", "v", "w"], x_noisy=[1.0004, 2.001, NAN])
    other = system("b", id=["u", "v", "w"], x_noisy=[1.0, 2.5, 3.0])
    assert pair_systems(first, near)[0].notes == []
    assert pair_systems(first, other)[0].notes == [
        "warning: x_noisy differs for 2 of 3 signals (v: 2 and 2.5): the systems did not get the same input"
    ]


def test_other_labels_and_facts_are_told() -> None:
    first = system("a", id=["u", "v"], noise=["cafe", "car"], snr_db=[0.0, 5.0], x=[1.0, 1.0])
    second = system("b", id=["u", "v"], noise=["cafe", "bus"], snr_db=[0.0, 5.0], x=[2.0, 2.0])
    third = system("c", id=["u", "v"], noise=["cafe", "car"], snr_db=[3.0, 5.0], x=[2.0, 2.0])
    assert pair_systems(first, second)[0].notes == [
        "warning: noise differs for 1 of 2 signals (v: car and bus); are they the same data?"
    ]
    assert pair_systems(first, third)[0].notes == [
        "warning: snr_db differs for 1 of 2 signals (u: 0 and 3); are they the same data?"
    ]


def test_reasons_of_failures_and_trimmed_samples_may_differ() -> None:
    first = system("a", id=["u"], x=[NAN], x__error=["silent_reference"], trimmed=[3.0])
    second = system("b", id=["u"], x=[NAN], x__error=["too_short"], trimmed=[0.0])
    assert pair_systems(first, second)[0].notes == []


def test_datasets_are_paired_by_name() -> None:
    first = Scores("a", {"seen": ids("u"), "unseen": ids("v")})
    second = Scores("b", {"unseen": ids("v"), "seen": ids("u")})
    pairs = pair_systems(first, second)
    assert [(pair.dataset, pair.second[0]["id"]) for pair in pairs] == [
        ("seen", "u"),
        ("unseen", "v"),
    ]


def test_only_datasets_are_paired_whatever_they_are_called() -> None:
    first, second = Scores("a", {"test": ids("u")}), Scores("b", {"theirs": ids("u")})
    assert [pair.dataset for pair in pair_systems(first, second)] == ["test"]


def test_other_datasets_are_refused_with_their_names() -> None:
    first = Scores("a", {"seen": ids("u"), "unseen": ids("v")})
    second = Scores("b", {"unseen": ids("v"), "real": ids("u")})
    with pytest.raises(
        RequestError, match=r"a has seen, unseen; b has unseen, real\. Compare what both"
    ):
        pair_systems(first, second)
    assert [pair.dataset for pair in pair_systems(first, second, common=True)] == ["unseen"]
    with pytest.raises(RequestError, match=r"b has real$"):
        pair_systems(first, Scores("b", {"real": ids("u")}), common=True)


def test_refusals_name_the_dataset_where_there_are_several() -> None:
    first = Scores("a", {"seen": ids("u"), "unseen": ids("v")})
    second = Scores("b", {"seen": ids("u"), "unseen": ids("w")})
    with pytest.raises(RequestError, match=r"^unseen: the signals differ"):
        pair_systems(first, second)
