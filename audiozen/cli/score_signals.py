"""Score signals one by one, on all cores."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from audiozen.errors import RequestError
from audiozen.tables.records import ERROR, NOISY

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from audiozen.cli.score_audio import Reader, Sounds
    from audiozen.cli.score_pairs import Signal
    from audiozen.metrics import Scorer
    from audiozen.metrics.pool import MetricPool

Record: TypeAlias = dict[str, Any]
Columns: TypeAlias = "dict[str, list[float | str]]"

MISSING_NOISY = "missing_noisy"
WITH_REFERENCE = ("si_sdr", "pesq_wb", "stoi", "estoi")
"""What is computed if nobody says what."""
WITHOUT_REFERENCE = ("dnsmos_sig", "dnsmos_bak", "dnsmos_ovrl")
"""The same, where there is nothing to compare with."""


def build_scorer(
    names: Sequence[str],
    sample_rate: int,
    roles: Collection[str],
    tell: Callable[[str], None],
) -> Scorer:
    """A scorer of these metrics, or of the usual ones as far as they are defined at this rate.

    Args:
        names: metrics, also improvements; empty for the usual ones.
        sample_rate: in Hz.
        roles: what there is: ``estimate``, and maybe ``reference`` and ``noisy``.
        tell: says which of the usual ones are left out.

    Raises:
        RequestError: a metric is unknown, is not defined at this rate, or needs what there is not.
    """
    from audiozen.metrics import Scorer

    names = names or _usual(sample_rate, roles, tell)
    try:
        scorer = Scorer(names, sample_rate)
    except RequestError as error:
        hint = "; --resample RATE does so" if "resample" in str(error) else ""
        raise RequestError(f"{error}{hint}") from error
    if "reference" not in roles:
        without = [name for name in names if _needs_reference(name)]
        _refuse(without, "a reference; name its folder with --reference")
    if "noisy" not in roles:
        _refuse(_improvements(names), "the noisy signals; name their folder with --noisy")
    return scorer


def scored(
    signals: Iterable[Signal],
    scorer: Scorer,
    reader: Reader,
    *,
    has_noisy: bool,
    num_workers: int | None,
) -> Iterator[Record]:
    """Scores of each signal, in their order, whatever the number of workers.

    Args:
        signals: what to read and score.
        scorer: computes the metrics, at the rate of the reader.
        reader: reads the files.
        has_noisy: whether the noisy signals are scored, too.
        num_workers: processes that compute; None: one per core, 0: none but this one.

    Yields:
        Records with ``id``, ``duration``, ``trimmed`` (where the reader trims), metrics, and reasons.
    """
    from audiozen.metrics.pool import MetricPool

    with MetricPool(num_workers) as pool:
        scoring = _Scoring(scorer, pool, has_noisy=has_noisy)
        waiting: deque[_Pending] = deque()
        for signal in signals:
            sounds = reader.read(signal)
            waiting.append(_Pending(_facts(signal, sounds, reader), scoring.start(sounds)))
            while waiting and waiting[0].is_done():
                yield scoring.record(waiting.popleft())
        while waiting:
            yield scoring.record(waiting.popleft())


class _Pending(NamedTuple):
    """What is known of a signal, and its scores when they are there."""

    facts: Record
    parts: list[Future[Columns] | Columns]

    def is_done(self) -> bool:
        return all(isinstance(part, dict) or part.done() for part in self.parts)


class _Scoring:
    """Starts the computation of the scores of a signal, and makes a record of them."""

    def __init__(self, scorer: Scorer, pool: MetricPool, *, has_noisy: bool) -> None:
        from audiozen.metrics import Scorer

        self.scorer, self.pool, self.has_noisy = scorer, pool, has_noisy
        self.improvements = _improvements(scorer.names)
        self.absolute = [name for name in scorer.names if name not in self.improvements]
        self.absolute_scorer = Scorer(self.absolute, scorer.sample_rate) if self.absolute else None

    def start(self, sounds: Sounds) -> list[Future[Columns] | Columns]:
        """Columns of one signal, or futures of them."""
        noisy_reason = self._reason(sounds, "noisy") if self.has_noisy else None
        parts = self._start_estimate(sounds, noisy_reason)
        if self.has_noisy and noisy_reason:
            parts.append(_failed([name + NOISY for name in self.absolute], noisy_reason))
        elif self.has_noisy:
            parts += self._start_absolute(sounds, "noisy", suffix=NOISY)
        return parts

    def record(self, pending: _Pending) -> Record:
        """Facts, metrics, metrics of the noisy signal, then the reasons."""
        columns: Columns = {}
        for part in pending.parts:
            columns |= part if isinstance(part, dict) else part.result()
        noisy = [name + NOISY for name in self.absolute] if self.has_noisy else []
        names = [*self.scorer.names, *noisy]
        reasons = [name + ERROR for name in names if name + ERROR in columns]
        return pending.facts | {name: columns[name][0] for name in [*names, *reasons]}

    def _start_estimate(
        self, sounds: Sounds, noisy_reason: str | None
    ) -> list[Future[Columns] | Columns]:
        reason = self._reason(sounds, "estimate")
        if reason:
            return [_failed(self.scorer.names, reason)]
        if noisy_reason or not self.improvements:
            failed = _failed(self.improvements, noisy_reason or "")
            return [*self._start_absolute(sounds, "estimate"), failed]
        waveforms = sounds.waveforms
        return [
            self.scorer.submit(
                self.pool,
                waveforms["estimate"],
                waveforms.get("reference"),
                noisy=waveforms["noisy"],
            )
        ]

    def _start_absolute(
        self, sounds: Sounds, role: str, suffix: str = ""
    ) -> list[Future[Columns] | Columns]:
        if self.absolute_scorer is None:
            return []
        waveform, reference = sounds.waveforms[role], sounds.waveforms.get("reference")
        return [self.absolute_scorer.submit(self.pool, waveform, reference, suffix=suffix)]

    def _reason(self, sounds: Sounds, role: str) -> str | None:
        """Why the signal in this role cannot be scored; None if it can."""
        missing = None if role in sounds.waveforms else MISSING_NOISY
        return sounds.reasons.get("reference") or sounds.reasons.get(role) or missing


def _facts(signal: Signal, sounds: Sounds, reader: Reader) -> Record:
    duration = sounds.num_samples / reader.sample_rate if sounds.waveforms else None
    return {"id": signal.id, "duration": duration} | (
        {"trimmed": sounds.trimmed} if reader.trim else {}
    )


def _failed(names: Iterable[str], reason: str) -> Columns:
    return {
        column: [cell]
        for name in names
        for column, cell in ((name, math.nan), (name + ERROR, reason))
    }


def _usual(sample_rate: int, roles: Collection[str], tell: Callable[[str], None]) -> list[str]:
    names = WITH_REFERENCE if "reference" in roles else WITHOUT_REFERENCE
    defined = [name for name in names if _is_defined(name, sample_rate)]
    others = [name for name in names if name not in defined]
    if others and defined:
        tell(
            f"{', '.join(others)} left out: not defined at {sample_rate} Hz (--resample 16000 helps)"
        )
    return defined or list(names)


def _is_defined(name: str, sample_rate: int) -> bool:
    from audiozen.metrics import Scorer

    try:
        Scorer([name], sample_rate)
    except RequestError:
        return False
    return True


def _improvements(names: Iterable[str]) -> list[str]:
    from audiozen.metrics import METRICS

    return [name for name in names if name not in METRICS]


def _needs_reference(name: str) -> bool:
    from audiozen.metrics.catalogue import metric_of

    metric = metric_of(name)
    return metric is not None and metric.needs_reference


def _refuse(names: Sequence[str], needed: str) -> None:
    if names:
        raise RequestError(f"{', '.join(names)}: cannot be computed without {needed}")
