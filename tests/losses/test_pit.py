from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from audiozen.acoustics import si_sdr
from audiozen.errors import ShapeError
from audiozen.losses import (
    PermutationInvariant,
    find_permutation,
    neg_si_sdr_per_signal,
    permutation_invariant,
    reorder,
)
from audiozen.losses.pit import _assign, _try_all, pair_losses


def batch(batch_size: int = 3, num_sources: int = 2, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (2, batch_size, num_sources, 400)
    references, noise = torch.randn(shape, generator=generator, dtype=torch.float64)
    return references + 0.5 * noise, references


def by_brute_force(estimates: Tensor, references: Tensor) -> tuple[Tensor, Tensor]:
    """Of one item: sources ``(sources, time)``."""
    orders = list(itertools.permutations(range(len(references))))
    losses = torch.stack([-si_sdr(estimates[list(order)], references).mean() for order in orders])
    return losses.min(), torch.tensor(orders[int(losses.argmin())])


def mean_square(estimate: Tensor, reference: Tensor) -> Tensor:
    return (estimate - reference).square().mean(-1)


# The order ----------------------------------------------------------------------------------------


@st.composite
def loss_matrices(draw: st.DrawFn, most_sources: int) -> Tensor:
    size, num_matrices = draw(st.integers(1, most_sources)), draw(st.integers(1, 3))
    count = num_matrices * size * size
    values = draw(st.lists(st.integers(-50, 50), min_size=count, max_size=count))
    return torch.tensor(values, dtype=torch.float32).reshape(num_matrices, size, size)


def sums(losses: Tensor, permutation: Tensor) -> Tensor:
    return losses.gather(-2, permutation[..., None, :]).sum((-2, -1))


@settings(deadline=None)
@given(loss_matrices(4))
def test_hungarian_equals_exhaustive(losses):
    torch.testing.assert_close(sums(losses, _assign(losses)), sums(losses, _try_all(losses)))


@settings(deadline=None)
@given(loss_matrices(8))
def test_order_is_that_of_the_lowest_sum(losses):
    permutation = find_permutation(losses)
    for matrix, order in zip(losses, permutation):
        assert sorted(order.tolist()) == list(range(len(matrix)))
        assert float(sums(matrix, order)) == matrix[linear_sum_assignment(matrix)].sum()


@pytest.mark.parametrize("num_sources", [1, 2, 5, 6, 7, 9])
def test_any_leading_axes(num_sources):
    losses = torch.randn(2, 3, num_sources, num_sources)
    permutation = find_permutation(losses)
    assert permutation.shape == (2, 3, num_sources)
    assert torch.equal(permutation[1, 2], find_permutation(losses[1, 2]))
    assert find_permutation(losses[:0]).shape == (0, 3, num_sources)


def test_among_equals_nothing_is_moved():
    assert find_permutation(torch.zeros(4, 3, 3)).tolist() == [[0, 1, 2]] * 4


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("num_sources", [2, 7])
def test_order_stays_where_a_loss_is_not_finite(num_sources, value):
    losses = 1 - torch.eye(num_sources).flip(0).expand(2, -1, -1).clone()
    losses[0, 0, 0] = value
    in_order = list(range(num_sources))
    assert find_permutation(losses).tolist() == [in_order, in_order[::-1]]


def test_order_has_no_gradient():
    losses = torch.randn(2, 2, requires_grad=True)
    assert not find_permutation(losses).requires_grad


def test_order_found_in_inference_serves_training():
    with torch.inference_mode():
        find_permutation(torch.randn(4, 4))
    estimates, references = batch(num_sources=4)
    estimates.requires_grad_()
    permutation_invariant(estimates, references).loss.sum().backward()
    assert estimates.grad.abs().sum() > 0


# The loss -----------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(0, 1000))
def test_equals_brute_force(num_sources, seed):
    estimates, references = batch(3, num_sources, seed)
    order = torch.randperm(num_sources, generator=torch.Generator().manual_seed(seed))
    loss, permutation = permutation_invariant(estimates[:, order], references)
    for item in range(3):
        expected, expected_order = by_brute_force(estimates[item, order], references[item])
        torch.testing.assert_close(loss[item], expected)
        assert torch.equal(permutation[item], expected_order)


@settings(deadline=None)
@given(st.integers(1, 8).flatmap(lambda n: st.permutations(range(n))))
def test_known_permutation_gives_the_same_loss_and_is_undone(order):
    estimates, references = batch(2, len(order))
    straight = permutation_invariant(estimates, references)
    loss, permutation = permutation_invariant(estimates[:, order], references)
    torch.testing.assert_close(loss, straight.loss)
    assert torch.equal(reorder(estimates[:, order], permutation), estimates)


def test_items_of_a_batch_are_ordered_each_for_itself():
    estimates, references = batch(3)
    estimates[1] = estimates[1].flip(0)
    assert permutation_invariant(estimates, references).permutation.tolist() == [
        [0, 1],
        [1, 0],
        [0, 1],
    ]


def test_gradient_is_that_of_the_loss_in_the_right_order():
    estimates, references = batch()
    swapped = estimates.flip(1).requires_grad_()
    permutation_invariant(swapped, references).loss.mean().backward()
    ordered = estimates.clone().requires_grad_()
    (-si_sdr(ordered, references)).mean().backward()
    torch.testing.assert_close(swapped.grad.flip(1), ordered.grad)
    assert ordered.grad.abs().sum() > 0


def test_any_loss_of_pairs():
    estimates, references = batch()
    loss, permutation = permutation_invariant(estimates.flip(1), references, mean_square)
    torch.testing.assert_close(loss, mean_square(estimates, references).mean(-1))
    assert permutation.tolist() == [[1, 0]] * 3


def test_module_equals_function():
    estimates, references = batch()
    for module, result in (
        (PermutationInvariant(), permutation_invariant(estimates, references)),
        (
            PermutationInvariant(mean_square),
            permutation_invariant(estimates, references, mean_square),
        ),
    ):
        assert all(torch.equal(a, b) for a, b in zip(module(estimates, references), result))


def test_silent_reference_gets_what_is_left_and_contributes_nothing():
    estimates, references = batch(1)
    estimates.requires_grad_()
    references[0, 0] = 0
    loss, permutation = permutation_invariant(estimates.flip(1), references)
    loss.sum().backward()
    assert permutation.tolist() == [[1, 0]]
    torch.testing.assert_close(loss[0], -si_sdr(estimates[0, 1], references[0, 1]) / 2)
    assert torch.equal(estimates.grad[0, 0], torch.zeros_like(estimates[0, 0]))
    assert estimates.grad.isfinite().all()


def test_nan_is_not_hidden_and_stays_in_its_item():
    estimates, references = batch(2)
    estimates[1, 0, 3] = math.nan
    assert permutation_invariant(estimates, references).loss.isnan().tolist() == [False, True]


def test_matrix_has_the_estimates_as_rows():
    estimates, references = batch(2, 3)
    losses = pair_losses(estimates, references, neg_si_sdr_per_signal)
    assert losses.shape == (2, 3, 3)
    torch.testing.assert_close(losses[1, 0, 2], -si_sdr(estimates[1, 0], references[1, 2]))


# Putting in order ---------------------------------------------------------------------------------


def test_scores_are_put_in_order_as_signals_are():
    permutation = torch.tensor([[2, 0, 1], [0, 1, 2]])
    scores = torch.tensor([[0.0, 1.0, 2.0], [0.0, 1.0, 2.0]])
    assert torch.equal(reorder(scores, permutation), permutation.float())
    spectra = scores[..., None, None].expand(2, 3, 4, 5)
    assert torch.equal(reorder(spectra, permutation)[..., 3, 4], permutation.float())


def test_gradient_goes_back_to_the_source_it_came_from():
    estimates = torch.zeros(1, 2, 3, requires_grad=True)
    reorder(estimates, torch.tensor([[1, 0]]))[0, 0].sum().backward()
    assert estimates.grad.tolist() == [[[0.0] * 3, [1.0] * 3]]


# Refusals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3,), (2, 3), (4, 2, 3), (0, 0)])
def test_matrix_that_is_not_square_is_refused(shape):
    with pytest.raises(ShapeError, match=r"expected \(\.\.\., sources, sources\)"):
        find_permutation(torch.zeros(shape))


def test_sources_of_different_shapes_are_refused():
    with pytest.raises(ShapeError, match=r"\(1, 2, 9\) and reference \(1, 3, 9\) differ"):
        permutation_invariant(torch.ones(1, 2, 9), torch.ones(1, 3, 9))


@pytest.mark.parametrize("shape", [(2, 9), (9,), (1, 2, 2, 9), (1, 0, 9)])
def test_sources_without_batch_are_refused(shape):
    with pytest.raises(ShapeError, match=r"expected \(batch, sources, time\)"):
        permutation_invariant(torch.ones(shape), torch.ones(shape))


def test_loss_that_is_averaged_is_refused():
    estimates, references = batch()
    with pytest.raises(ShapeError, match=r"made \(\) of signals \(3, 2, 2, 400\); .* not averaged"):
        permutation_invariant(estimates, references, torch.nn.functional.mse_loss)


def test_permutation_of_another_batch_is_refused():
    with pytest.raises(ShapeError, match=r"\(3, 2, 9\) and a permutation of \(4, 2\)"):
        reorder(torch.ones(3, 2, 9), torch.zeros(4, 2, dtype=torch.long))
