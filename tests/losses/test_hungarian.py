from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from audiozen.losses._hungarian import cheapest_rows


@st.composite
def square_matrices(
    draw: st.DrawFn, largest: int, values: st.SearchStrategy[float]
) -> list[list[float]]:
    size = draw(st.integers(1, largest))
    row = st.lists(values, min_size=size, max_size=size)
    return draw(st.lists(row, min_size=size, max_size=size))


def total(costs: list[list[float]], row_of: list[int] | tuple[int, ...]) -> float:
    return sum(costs[row][column] for column, row in enumerate(row_of))


@settings(deadline=None)
@given(square_matrices(4, st.integers(-20, 20).map(float)))
def test_equals_trying_all_orders(costs):
    found = cheapest_rows(costs)
    assert sorted(found) == list(range(len(costs)))
    assert total(costs, found) == min(
        total(costs, order) for order in itertools.permutations(range(len(costs)))
    )


@settings(deadline=None)
@given(square_matrices(12, st.integers(-1000, 1000).map(float)))
def test_equals_another_implementation(costs):
    found = cheapest_rows(costs)
    rows, columns = linear_sum_assignment(costs)
    assert sorted(found) == list(range(len(costs)))
    assert total(costs, found) == sum(costs[row][column] for row, column in zip(rows, columns))


@settings(deadline=None)
@given(square_matrices(6, st.floats(-1e6, 1e6, width=32)))
def test_comes_to_an_end_with_any_numbers(costs):
    assert sorted(cheapest_rows(costs)) == list(range(len(costs)))


def test_nothing_to_assign():
    assert cheapest_rows([]) == []
