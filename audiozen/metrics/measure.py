"""What all metrics share: the signals they take, when they are undefined, one value per signal."""

from __future__ import annotations

import contextlib
import importlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audiozen.acoustics import is_silent
from audiozen.errors import MetricError, RequestError, ShapeError
from audiozen.metrics.blas import one_blas_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import ModuleType

Signal: TypeAlias = Tensor | NDArray[Any]
"""Floating point, shape ``(time,)`` or ``(batch, time)``."""

Samples: TypeAlias = NDArray[np.float64]
"""One signal, shape ``(time,)``."""

Recording: TypeAlias = NDArray[np.float32] | NDArray[np.float64]
"""As Samples, in the precision that it came in: half the bytes for other processes."""

NOT_INSTALLED = "not_installed"


@dataclass(frozen=True)
class Measure:
    """One computation on one pair of signals, which gives one or several metrics.

    Args:
        compute: from estimate, reference (not looked at by some) and sample rate to values by name
            of the metric. Raises MetricError where they are undefined.
        sample_rates: those it takes, in Hz. None: any.
        needs_reference: whether it looks at the reference.
        is_slow: whether it takes more than a millisecond or so for a signal of 4 s. BLAS then has one thread meanwhile.
        covers: measures whose values it gives as well, so that they need not run beside it.
    """

    compute: Callable[[Samples, Samples | None, int], Mapping[str, float]]
    sample_rates: tuple[int, ...] | None = None
    needs_reference: bool = True
    is_slow: bool = True
    covers: tuple[Measure, ...] = ()

    def __call__(
        self, estimate: Recording, reference: Recording | None, sample_rate: int
    ) -> Mapping[str, float]:
        """Values of one pair of signals, computed in float64.

        Raises:
            MetricError: undefined for these signals.
        """
        samples = np.asarray(estimate, np.float64)
        target = None
        if reference is not None and self.needs_reference:
            target = np.asarray(reference, np.float64)
        _refuse_undefined(samples, target)
        try:
            with one_blas_thread() if self.is_slow else contextlib.nullcontext():
                return self.compute(samples, target, sample_rate)
        except MetricError:
            raise
        except Exception as error:
            # Other people's code, on signals nobody foresaw: the run must go on.
            raise MetricError("failed", f"failed: {type(error).__name__}: {error}") from error

    def check_sample_rate(self, name: str, sample_rate: int) -> None:
        """Refuse a rate at which ``name`` is not defined.

        Raises:
            RequestError: with the rates that are.
        """
        if self.sample_rates is not None and sample_rate not in self.sample_rates:
            allowed = " or ".join(str(rate) for rate in self.sample_rates)
            raise RequestError(
                f"{name} is defined at {allowed} Hz, got sample_rate={sample_rate}; resample the "
                "signals first (both in the same way)"
            )
        if sample_rate <= 0:
            raise RequestError(f"{name}: sample_rate must be positive, got {sample_rate}")


def evaluate(
    name: str,
    measure: Measure,
    estimate: Signal,
    reference: Signal | None,
    sample_rate: int,
    *,
    strict: bool,
) -> Tensor:
    """One value of ``name`` per signal; NaN where it is undefined.

    Returns:
        float64 on the CPU, shape ``()`` for ``(time,)`` and ``(batch,)`` for ``(batch, time)``.

    Raises:
        MetricError: undefined, and ``strict``; or a package is not installed.
        RequestError: not defined at this sample rate.
        ShapeError: signals of different or unknown shapes.
    """
    measure.check_sample_rate(name, sample_rate)
    values = []
    for index, (samples, target, _) in enumerate(signals(estimate, reference)):
        try:
            values.append(float(measure(samples, target, sample_rate)[name]))
        except MetricError as error:
            if strict or error.reason == NOT_INSTALLED:
                raise MetricError(error.reason, f"{name} of signal {index}: {error}") from error
            values.append(math.nan)
    return torch.tensor(values, dtype=torch.float64).reshape(tuple(estimate.shape[:-1]))


def signals(
    estimate: Signal, reference: Signal | None, noisy: Signal | None = None
) -> list[tuple[Recording, Recording | None, Recording | None]]:
    """Estimate, reference and noisy signal of each example, on the CPU; in float32 if that holds them exactly.

    Raises:
        ShapeError: the shapes differ, or are neither ``(time,)`` nor ``(batch, time)``.
        TypeError: not floating point.
    """
    estimates = _as_recordings(estimate, "estimate")
    references = _matching(reference, "reference", estimate)
    return list(zip(estimates, references, _matching(noisy, "noisy", estimate)))


def require(package: str, *, extra: str) -> ModuleType:
    """Import an optional package.

    Raises:
        MetricError: it is not there, or does not load; the text says how to install it.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise not_installed(package, extra, error) from error


def not_installed(package: str, extra: str, cause: object = None) -> MetricError:
    """The error that says how to install a package."""
    because = f" ({cause})" if cause else ""
    return MetricError(
        NOT_INSTALLED,
        f"the package {package} cannot be imported{because}; pip install 'audiozen[{extra}]'",
    )


def _as_recordings(signal: Signal, role: str) -> Recording:
    tensor = signal.detach() if isinstance(signal, Tensor) else torch.as_tensor(signal)
    if tensor.ndim not in (1, 2):
        raise ShapeError(
            f"{role} has shape {tuple(tensor.shape)}; expected (time,) or (batch, time), with "
            "channels or sources as signals of their own"
        )
    if not tensor.is_floating_point():
        raise TypeError(
            f"{role} is {tensor.dtype}; expected floating point in [-1, 1] (divide int16 by 32768)"
        )
    precision = torch.float64 if tensor.dtype == torch.float64 else torch.float32
    recordings: Recording = np.atleast_2d(tensor.to("cpu", precision).numpy())
    return recordings


def _matching(signal: Signal | None, role: str, estimate: Signal) -> Sequence[Recording | None]:
    if signal is None:
        return [None] * (1 if estimate.ndim == 1 else len(estimate))
    recordings = _as_recordings(signal, role)
    if tuple(estimate.shape) != tuple(signal.shape):
        raise ShapeError(
            f"estimate {tuple(estimate.shape)} and {role} {tuple(signal.shape)} differ in shape; "
            "trim or pad one of them first"
        )
    return list(recordings)


def _refuse_undefined(estimate: Samples, reference: Samples | None) -> None:
    both = [estimate] if reference is None else [estimate, reference]
    if estimate.size == 0:
        raise MetricError("too_short", "there is no sample")
    if not all(map(math.isfinite, (edge for samples in both for edge in _range(samples)))):
        raise MetricError("nonfinite", "there is NaN or infinity in the signals")
    if reference is not None and _is_silent(reference):
        raise MetricError("silent_reference", "the reference is silent (all samples are equal)")
    if _is_silent(estimate):
        raise MetricError("silent_estimate", "the estimate is silent (all samples are equal)")


def _is_silent(samples: Samples) -> bool:
    lowest, highest = _range(samples)
    if highest - lowest > 1e-9 * max(abs(lowest), abs(highest)):
        return False  # of almost all signals; to look more closely takes many times as long
    return bool(is_silent(torch.from_numpy(samples)))


def _range(samples: Samples) -> tuple[float, float]:
    """Lowest and highest; NaN if there is one."""
    return float(samples.min()), float(samples.max())
