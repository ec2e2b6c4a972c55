from __future__ import annotations

import math
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from audiozen.sweep.axes import choice_axis, linear_axis, log_axis
from audiozen.sweep.entries import Entry
from audiozen.sweep.plan import Plan
from audiozen.sweep.plot import plot
from audiozen.sweep.space import Choices, Range
from audiozen.sweep.text import format_entries, format_importance, short_names

PLAN = Plan(
    space={
        "a.rate": Range(low=1e-4, high=1e-2, log=True),
        "a.kind": Choices(["<a&b>", "c"]),
    },
    settings={},
    best_metric="si_sdr",
    higher_is_better=True,
    sampler="tpe",
    pruner="none",
    seed=0,
)


def entry(number: int, score: float | None, state: str = "done", rate: float = 1e-3) -> Entry:
    values = {"a.rate": rate, "a.kind": "<a&b>"}
    return Entry(
        number=number,
        name=f"trial_{number:04d}",
        state=state,
        score=score,
        values=values,
        validations=2,
        steps=20,
        seconds=61.4,
    )


ENTRIES = [
    entry(1, 12.0),
    entry(0, 10.0, rate=1e-4),
    entry(2, -50.0, "pruned"),
    replace(entry(3, None, "failed"), reason="RuntimeError: out of memory"),
]


def circles(svg: str) -> list[tuple[str, float, float]]:
    found = ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}circle")
    return [(c.get("class", ""), float(c.get("cx", "")), float(c.get("cy", ""))) for c in found]


def test_plot_has_a_panel_for_the_trials_and_one_for_each_setting() -> None:
    svg = plot(ENTRIES, PLAN)
    titles = re.findall(r'class="title"[^>]*>([^<]*)<', svg)
    assert titles == [
        "4 trials: 2 done, 1 pruned, 1 failed; si_sdr, higher is better; hollow: not done",
        *("trial", "a.rate", "a.kind"),
    ]
    assert len(circles(svg)) == 3 * 3
    assert "http" not in svg.replace("http://www.w3.org/2000/svg", "")


def test_places_are_those_of_the_values() -> None:
    rate = circles(plot(ENTRIES, PLAN))[3:6]
    classes = [kind for kind, _, _ in rate]
    (_, x_other, y_other), (_, x_done, y_done), (_, x_best, y_best) = rate
    assert classes == ["other", "done", "best"]
    assert x_done == 58  # the left end: 1e-4
    assert x_best == x_other == 58 + 250 / 2
    assert y_best < y_done < y_other
    assert y_other == 250 - 34  # on the edge, as it is worse than all that are done


def test_plot_of_nothing_is_a_plot() -> None:
    assert ElementTree.fromstring(plot([], PLAN)) is not None
    assert len(circles(plot([entry(0, 1.0)], PLAN))) == 3


def test_table_ranks_what_is_done_and_tells_why_trials_failed() -> None:
    assert format_entries(ENTRIES, PLAN).splitlines() == [
        "4 trials: 2 done, 1 pruned, 1 failed",
        "",
        "rank  trial       state   si_sdr ↑    rate   kind  steps     took",
        "─────────────────────────────────────────────────────────────────",
        "1     trial_0001  done     12.0000   0.001  <a&b>     20  0:01:01",
        "2     trial_0000  done     10.0000  0.0001  <a&b>     20  0:01:01",
        "      trial_0002  pruned  -50.0000   0.001  <a&b>     20  0:01:01",
        "      trial_0003  failed             0.001  <a&b>     20  0:01:01",
        "",
        "  trial_0003: RuntimeError: out of memory",
    ]
    assert (
        format_importance({"a.rate": 0.75, "a.kind": 0.25})
        == "importance: a.rate 0.75, a.kind 0.25"
    )


def test_names_are_as_short_as_they_can_be() -> None:
    keys = ["model.a.args.size", "model.b.args.size", "optimizer.args.lr"]
    assert list(short_names(keys).values()) == ["a.args.size", "b.args.size", "lr"]


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3, 40), (1e-9, 2e-9), (5, 5), (0.13, 0.73)])
def test_ticks_of_a_linear_axis_are_few_and_inside(low: float, high: float) -> None:
    axis = linear_axis(low, high)
    assert 1 <= len(axis.ticks) <= 8
    assert all(-1e-9 <= place <= 1 + 1e-9 for place, _ in axis.ticks)
    for place, text in axis.ticks:
        assert axis.place(float(text)) == pytest.approx(place, abs=1e-6)


@pytest.mark.parametrize(
    ("low", "high", "texts"),
    [
        (1e-4, 1e-1, ["0.0001", "0.001", "0.01", "0.1"]),
        (3.0, 60.0, ["5", "10", "20", "50"]),
    ],
)
def test_ticks_of_a_log_axis_are_round(low: float, high: float, texts: list[str]) -> None:
    axis = log_axis(low, high)
    assert [text for _, text in axis.ticks] == texts
    assert axis.place(math.sqrt(low * high)) == pytest.approx(0.5)


def test_choices_have_equal_room_and_long_ones_are_cut() -> None:
    axis = choice_axis([1, "a long word indeed"], ["1", "a long word indeed"])
    assert axis.ticks == [(0.25, "1"), (0.75, "a long word i…")]
    assert axis.place(1) == 0.25
