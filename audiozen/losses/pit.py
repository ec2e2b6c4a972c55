"""Permutation-invariant training: the order in which a model gives its sources does not count."""

from __future__ import annotations

import itertools
from collections.abc import Callable  # noqa: TC003 - checked at run time
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor, nn

from audiozen.acoustics.sdr import check_same_shape
from audiozen.errors import ShapeError
from audiozen.losses._hungarian import cheapest_rows
from audiozen.losses.neg_si_sdr import neg_si_sdr_per_signal

MOST_SOURCES_TRIED = 6
"""Up to so many sources, all orders are tried (720), for a whole batch at once and where it is."""


class Permuted(NamedTuple):
    """The loss of the best order, and that order."""

    loss: Tensor
    """Mean over the sources, shape ``(batch,)``."""
    permutation: Tensor
    """Shape ``(batch, sources)``: entry ``j`` is the estimate that belongs to reference ``j``."""


def permutation_invariant(
    estimates: Tensor,
    references: Tensor,
    pair_loss: Callable[[Tensor, Tensor], Tensor] = neg_si_sdr_per_signal,
) -> Permuted:
    """Loss of several sources, in the order of the estimates that suits the references best. Lower is better.

    The order is found once, and serves everything else: ``reorder(estimates, permutation)`` is what
    metrics and sound files are made of. The gradient is that of the best order.

    Args:
        estimates: shape ``(batch, sources, time)``.
        references: same shape.
        pair_loss: called with two signals of shape ``(..., time)``, returns shape ``(...)``: one value
            per signal.

    Returns:
        ``(loss, permutation)``, of shapes ``(batch,)`` and ``(batch, sources)``.

    Raises:
        ShapeError: the shapes differ or are others than these, or ``pair_loss`` returns not one value per signal.

    Source: Kolbæk et al., "Multitalker speech separation with utterance-level permutation invariant
    training of deep recurrent neural networks", TASLP 2017.

    >>> voices = torch.tensor([[[1.0, -1.0, 1.0, -1.0], [1.0, 1.0, -1.0, -1.0]]])
    >>> loss, permutation = permutation_invariant(voices.flip(1), voices)
    >>> permutation.tolist(), torch.equal(reorder(voices.flip(1), permutation), voices)
    ([[1, 0]], True)
    """
    losses = pair_losses(estimates, references, pair_loss)
    permutation = find_permutation(losses)
    return Permuted(losses.gather(-2, permutation[:, None]).mean((-2, -1)), permutation)


class PermutationInvariant(nn.Module):
    """:func:`permutation_invariant` as a module.

    Args:
        pair_loss: as there; may be a module.
    """

    def __init__(
        self, pair_loss: Callable[[Tensor, Tensor], Tensor] = neg_si_sdr_per_signal
    ) -> None:
        super().__init__()
        self.pair_loss = pair_loss

    def forward(self, estimates: Tensor, references: Tensor) -> Permuted:
        """``(loss, permutation)`` of estimates and references ``(batch, sources, time)``."""
        return permutation_invariant(estimates, references, self.pair_loss)


def pair_losses(
    estimates: Tensor, references: Tensor, pair_loss: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """Loss of each estimate (second axis) for each reference (third axis).

    Args:
        estimates: shape ``(batch, sources, time)``.
        references: same shape.
        pair_loss: from two signals ``(..., time)`` to ``(...)``.

    Returns:
        Shape ``(batch, sources, sources)``.

    Raises:
        ShapeError: as :func:`permutation_invariant`.
    """
    check_same_shape(estimates, references)
    if estimates.ndim != 3 or estimates.shape[1] == 0:
        raise ShapeError(
            f"sources of shape {tuple(estimates.shape)}; expected (batch, sources, time)"
        )
    batch_size, num_sources, num_samples = estimates.shape
    shape = (batch_size, num_sources, num_sources, num_samples)
    left, right = estimates[:, :, None].expand(shape), references[:, None].expand(shape)
    losses = pair_loss(left, right)
    if losses.shape != shape[:-1]:
        raise ShapeError(
            f"pair_loss made {tuple(losses.shape)} of signals {shape}; expected one value per "
            f"signal, {shape[:-1]}: a loss that is not averaged"
        )
    return losses


@torch.no_grad()
def find_permutation(loss_matrix: Tensor) -> Tensor:
    """Which estimate belongs to which reference, so that the sum of the losses is lowest.

    All orders are tried where there are at most six sources; beyond, the Hungarian method finds the
    best one, on the CPU. Among equals the first one in lexicographic order is taken where all are
    tried. Where a loss is not finite, the order stays as it is, so that the loss tells of it.

    Args:
        loss_matrix: shape ``(..., sources, sources)``: loss of each estimate (second last axis) for
            each reference (last axis).

    Returns:
        Integers of shape ``(..., sources)``: entry ``j`` is the estimate that belongs to reference ``j``.

    Raises:
        ShapeError: the matrix is not square, or is empty.

    >>> find_permutation(torch.tensor([[4.0, 1.0], [2.0, 3.0]])).tolist()
    [1, 0]
    """
    num_sources = _num_sources(loss_matrix)
    find = _try_all if num_sources <= MOST_SOURCES_TRIED else _assign
    is_finite = loss_matrix.isfinite().all(-1, keepdim=True).all(-2, keepdim=True)
    return find(torch.where(is_finite, loss_matrix, 0))  # of equals, the first order


def reorder(estimates: Tensor, permutation: Tensor) -> Tensor:
    """Sources in the order of the references.

    Args:
        estimates: shape ``(batch, sources, ...)``: waveforms ``(batch, sources, time)``, or one score per source.
        permutation: shape ``(batch, sources)``, from :func:`find_permutation`.

    Returns:
        Shape of ``estimates``: source ``j`` is that of reference ``j``.

    Raises:
        ShapeError: the estimates do not begin with the shape of the permutation.
    """
    if estimates.shape[: permutation.ndim] != permutation.shape:
        raise ShapeError(
            f"estimates of shape {tuple(estimates.shape)} and a permutation of "
            f"{tuple(permutation.shape)}; expected (batch, sources, ...) and (batch, sources)"
        )
    num_further = estimates.ndim - permutation.ndim
    index = permutation.reshape(*permutation.shape, *[1] * num_further)
    return estimates.gather(permutation.ndim - 1, index.expand_as(estimates))


def _num_sources(loss_matrix: Tensor) -> int:
    shape = tuple(loss_matrix.shape)
    if len(shape) < 2 or shape[-1] != shape[-2] or shape[-1] == 0:
        raise ShapeError(
            f"a loss matrix of shape {shape}; expected (..., sources, sources), a loss of each "
            "estimate for each reference"
        )
    return shape[-1]


def _try_all(loss_matrix: Tensor) -> Tensor:
    """The best of all orders, of each matrix."""
    num_sources = loss_matrix.shape[-1]
    orders = _orders(num_sources, loss_matrix.device)
    sums = loss_matrix[..., orders, torch.arange(num_sources, device=loss_matrix.device)].sum(-1)
    return orders[sums.argmin(-1)]


def _assign(loss_matrix: Tensor) -> Tensor:
    """As :func:`_try_all`, by the Hungarian method."""
    num_sources = loss_matrix.shape[-1]
    matrices = loss_matrix.reshape(-1, num_sources, num_sources).tolist()
    best = torch.tensor([cheapest_rows(matrix) for matrix in matrices], dtype=torch.long)
    return best.reshape(loss_matrix.shape[:-1]).to(loss_matrix.device)


@cache
def _orders(num_sources: int, device: torch.device) -> Tensor:
    # Kept on the device: a step that is launched as a CUDA graph copies nothing to it.
    return torch.tensor(list(itertools.permutations(range(num_sources))), device=device)
