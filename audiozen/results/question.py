"""What is asked of a comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from audiozen.errors import RequestError
from audiozen.results.statistics import NUM_RESAMPLES

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Question"]


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked of a comparison.

    Args:
        metrics: which ones; none: all that both systems have.
        by: column of labels; each group is compared besides all signals.
        cluster: column of labels; signals of the same label are not taken as independent.
        common: compare the signals that both have, in place of a refusal where they differ.
        all_pairs: compare each system with each other, in place of all with the first.
        confidence: of the intervals; ``1 - confidence`` is the level of the test.
        num_resamples: of the bootstrap and of the test.
        seed: of both.

    Raises:
        RequestError: a number is out of its range.
    """

    metrics: Sequence[str] = ()
    by: str | None = None
    cluster: str | None = None
    common: bool = False
    all_pairs: bool = False
    confidence: float = 0.95
    num_resamples: int = NUM_RESAMPLES
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.5 <= self.confidence <= 0.999:
            raise RequestError(f"confidence is {self.confidence}; expected one from 0.5 to 0.999")
        if self.num_resamples < 1000:
            raise RequestError(f"num_resamples is {self.num_resamples}; expected 1000 or more")
        if self.seed < 0:
            raise RequestError(f"seed is {self.seed}; expected 0 or more")

    @property
    def level(self) -> float:
        """How often a difference may be told where there is none."""
        return 1 - self.confidence
