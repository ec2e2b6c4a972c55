"""Who does what, so that the sum of the costs is lowest: the assignment problem."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def cheapest_rows(costs: Sequence[Sequence[float]]) -> list[int]:
    """The row that each column gets, every row once, with the lowest sum of costs.

    Time grows with the cube of the size, where trying all orders grows with its factorial.

    Args:
        costs: of each row, for each column; square and finite.

    Source: Kuhn, "The Hungarian method for the assignment problem", 1955; with shortest paths as in
    Edmonds and Karp, "Theoretical improvements in algorithmic efficiency", 1972.

    >>> cheapest_rows([[4.0, 1.0], [2.0, 3.0]])
    [1, 0]
    """
    assignment = _Assignment(costs)
    for row in range(len(costs)):
        assignment.add(row)
    return assignment.row_of


class _Assignment:
    """The best one of the rows until now. The prices are such that no cost is below those of its row and its column
    together, and equal to them where a row has the column.
    """

    def __init__(self, costs: Sequence[Sequence[float]]) -> None:
        self.costs = costs
        self.columns = range(len(costs))
        self.row_prices = [0.0] * len(costs)
        self.column_prices = [0.0] * len(costs)
        self.row_of = [-1] * len(costs)

    def add(self, row: int) -> None:
        """Give a row a column, along the cheapest chain of rows that move on to another one."""
        distances, previous, reached = self._reach_free_column(row)
        self._adjust_prices(row, distances, reached)
        column = reached[-1]
        while column >= 0:
            before = previous[column]
            self.row_of[column] = row if before < 0 else self.row_of[before]
            column = before

    def _reach_free_column(self, row: int) -> tuple[list[float], list[int], list[int]]:
        """How far each column is, after which one it comes, and the columns in order of distance, up to a free one."""
        distances, previous = [math.inf] * len(self.columns), [-1] * len(self.columns)
        reached: list[int] = []
        start, column = 0.0, -1
        while row >= 0:
            left = [other for other in self.columns if other not in reached]
            for other in left:
                distance = start + self._surplus(row, other)
                if distance < distances[other]:
                    distances[other], previous[other] = distance, column
            column = min(left, key=distances.__getitem__)
            start = distances[column]
            reached.append(column)
            row = self.row_of[column]
        return distances, previous, reached

    def _surplus(self, row: int, column: int) -> float:
        return self.costs[row][column] - self.row_prices[row] - self.column_prices[column]

    def _adjust_prices(self, row: int, distances: list[float], reached: list[int]) -> None:
        *taken, free = reached
        self.row_prices[row] += distances[free]
        for column in taken:
            slack = distances[free] - distances[column]
            self.row_prices[self.row_of[column]] += slack
            self.column_prices[column] -= slack
