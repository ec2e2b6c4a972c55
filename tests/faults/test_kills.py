"""A run that is killed at any instant, or told to stop, and resumed, ends as one that was left alone."""

from __future__ import annotations

import random
import signal
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.kills import (
    Attempts,
    Case,
    Interruption,
    Result,
    difference,
    living,
    reference,
    try_case,
)
from tests.faults.scenarios import FILE_OPERATION, SCENARIOS
from tests.faults.table import Row, tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

NUM_KILLS = 1000
NUM_STOPS = 300
WHOLE = ("plain", "averaged")
"""Scenarios that are killed at each of their file operations."""
WORKERS_END_AFTER = 15.0
"""Seconds. They look every five."""
MAX_KILLS = 4
"""In a row."""


def killed_at_places(long: bool, seed: int) -> Iterator[Row]:
    """Kill each run wherever it comes by: at all places in the long form, at some of each kind in the other."""
    by_place: dict[str, list[Case]] = defaultdict(list)
    for scenario in SCENARIOS:
        visits = reference(scenario).places
        for place in dict.fromkeys(visits):
            for visit in range(1, visits.count(place) + 1):
                attempt = (Interruption(place=place, visit=visit),)
                by_place[place].append(Case(scenario, (attempt,)))
    for place, cases in by_place.items():
        yield tried(f"killed {place}", chosen(place, cases, long=long, seed=seed))


def chosen(place: str, cases: list[Case], *, long: bool, seed: int) -> list[Case]:
    draw = random.Random(f"{seed} {place}")
    if not long:
        return draw.sample(cases, min(len(cases), 5 if place == FILE_OPERATION else 1))
    return [case for case in cases if draw.random() < share(case.scenario, place)]


def share(scenario: str, place: str) -> float:
    """How many of its places the long form tries: runs with workers take ten times as long as others."""
    if SCENARIOS[scenario].num_workers:
        return 0.1
    return 1.0 if scenario in WHOLE or place != FILE_OPERATION else 0.2


def killed_at_random(long: bool, seed: int) -> Iterator[Row]:
    """Kill runs after random times, up to so many times in a row."""

    def draw(number: random.Random) -> tuple[Interruption, ...]:
        return (Interruption(after=number.random()),)

    num = NUM_KILLS if long else len(SCENARIOS)
    yield from disturbed(draw, "killed at random instants", num, seed)


def stopped_at_random(long: bool, seed: int) -> Iterator[Row]:
    """Send other signals, twice, and before a kill."""
    num = NUM_STOPS if long else len(SCENARIOS)
    yield from disturbed(draw_stop, "stopped at random instants", num, seed)


def draw_stop(number: random.Random) -> tuple[Interruption, ...]:
    """One of the signals that ask a run to stop; perhaps another one while it saves; or a kill at once."""
    kinds = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    first = Interruption(number.choice(kinds), number.random())
    soon = first.after + 0.1 * number.random()
    match number.randrange(5):
        case 0:
            return first, Interruption(number.choice(kinds), soon)
        case 1:
            return first, Interruption(after=soon)
        case 2:
            return (Interruption(after=first.after),)
    return (first,)


def killed_with_workers(long: bool, seed: int) -> Iterator[Row]:
    """Kill runs that have workers, which nobody tells."""
    early = [(visit,) for visit in range(1, 19) if visit % 6 in (1, 2)]  # later, they may have gone
    visits = early if long else random.Random(seed).sample(early, 1)
    yield tally("workers of a killed run end by themselves", check_workers_end, visits)


def check_workers_end(visit: int) -> None:
    with Attempts("workers") as attempts:
        attempts.attempt([Interruption(place="in a training step", visit=visit)])
        (group,) = attempts.groups
        assert living(group), "there were no workers"
        deadline = time.monotonic() + WORKERS_END_AFTER
        while living(group):
            assert time.monotonic() < deadline, f"{living(group)} live on"
            time.sleep(0.1)


def disturbed(
    draw: Callable[[random.Random], tuple[Interruption, ...]], fault: str, num: int, seed: int
) -> Iterator[Row]:
    """Disturb each scenario at least its share of so many times."""
    share = -(-num // len(SCENARIOS))
    for scenario in SCENARIOS:
        number = random.Random(f"{seed} {fault} {scenario}")
        yield tried(f"{fault}: {scenario}", drawn_cases(scenario, draw, number), at_least=share)


def drawn_cases(
    scenario: str, draw: Callable[[random.Random], tuple[Interruption, ...]], number: random.Random
) -> Iterator[Case]:
    while True:
        num_attempts = number.randint(1, MAX_KILLS)
        yield Case(scenario, tuple(draw(number) for _ in range(num_attempts)))


def tried(fault: str, cases: Iterable[Case], at_least: float = float("inf")) -> Row:
    """Try cases: all of them, or until runs were disturbed so many times."""
    results: list[Result] = []
    total = 0
    for case in cases:
        results.append(try_case(case))
        total += max(results[-1].num_disturbed, bool(results[-1].problem))
        if total >= at_least:
            break
    lost = sum(max(r.num_disturbed, 1) for r in results if r.problem)
    return Row(fault, total, total - lost, next((r.problem for r in results if r.problem), ""))


@pytest.mark.parametrize(
    ("drill", "num_rows"),
    [
        (killed_at_random, len(SCENARIOS)),
        (killed_at_places, 20),
        (stopped_at_random, len(SCENARIOS)),
        (killed_with_workers, 1),
    ],
)
def test_disturbed_runs_end_as_one_that_was_left_alone(drill, num_rows, fresh_process):
    rows = fresh_process.submit(rows_of, drill).result()
    assert len(rows) >= num_rows
    for row in rows:
        assert row.tried > 0
        assert row.survived == row.tried, f"{row.fault}: {row.detail}"


def rows_of(drill: Callable[[bool, int], Iterator[Row]]) -> list[Row]:
    return list(drill(long=False, seed=1))


def test_every_feature_is_in_an_undisturbed_run(fresh_process):
    """The scenarios would show little if the best score came first or last, or no rate ever changed."""
    (plain, averaged) = fresh_process.submit(outcomes, ["plain", "averaged"]).result()
    assert plain["best"] == averaged["best"] == "epoch_0002"
    rates = [row["train/lr"] for row in averaged["rows"] if "train/lr" in row]
    assert len(set(rates)) > 1
    assert sum("received" in name for row in plain["rows"] for name in row) == 3
    assert sum(name.startswith("test/") for row in plain["rows"] for name in row) == 1


def outcomes(scenarios: list[str]) -> list[dict[str, Any]]:
    return [reference(scenario).outcome for scenario in scenarios]


def test_a_case_is_repeated_by_its_own_words():
    kill, stop = (
        Interruption(place="in a training step", visit=3),
        Interruption(signal.SIGTERM, 0.25),
    )
    assert [Interruption.of(str(one)) for one in (kill, stop)] == [kill, stop]
    command = Case("plain", ((kill,), (stop, Interruption(after=0.5)))).command
    assert command.endswith("plain 'in a training step#3' TERM@0.2500+KILL@0.5000")


def test_what_differs_is_named():
    rows = [{"step": 1}, {"step": 2}]
    assert difference({"rows": rows, "a": b"x"}, {"rows": list(rows), "a": b"x"}) == ""
    told = difference({"rows": [*rows, *rows]}, {"rows": rows})
    assert told == "rows: 4 instead of 2, last [{'step': 2}]"
    assert (
        difference({"a": b'{"b": 1}'}, {"a": b'{"b": 2}'}) == 'a: …{"b": 1}… instead of …{"b": 2}…'
    )
    assert difference({}, {"a": 1}) == "a: None instead of 1"
