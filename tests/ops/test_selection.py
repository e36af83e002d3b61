import math

import pytest
import torch

from tta.ops.losses import entropy
from tta.ops.selection import (
    diversity_certainty_weights,
    entropy_margin,
    entropy_weight,
    not_redundant,
    selected_mean,
    update_mean_probabilities,
)

LOGITS = torch.tensor([[2.0, 0, -1], [0, 1, 0.5], [1, 1, 1]])
P = torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.7, 0.2, 0.1]])


def test_weights_of_the_golden_vectors():
    margin = entropy_margin(0.4, 3)
    assert math.isclose(margin, 0.439445, abs_tol=1e-6)
    logits = LOGITS.clone().requires_grad_()
    weights = entropy_weight(entropy(logits), margin)
    assert not weights.requires_grad
    torch.testing.assert_close(
        weights, torch.tensor([0.918676, 0.559481, 0.517282]), atol=1e-6, rtol=0
    )


def test_everything_passes_before_the_first_update():
    assert not_redundant(P, torch.zeros(3), 1e-6).all()


def test_what_points_along_the_mean_is_redundant():
    assert not_redundant(P, P[0], 0.5).tolist() == [False, True, False]


def test_the_first_kept_samples_set_the_mean_and_later_ones_move_it():
    kept = torch.tensor([True, False, True])
    first = update_mean_probabilities(torch.zeros(3), P, kept)
    torch.testing.assert_close(first, (P[0] + P[2]) / 2)
    second = update_mean_probabilities(first, P, ~kept)
    torch.testing.assert_close(second, 0.9 * first + 0.1 * P[1])


def test_nothing_kept_leaves_the_mean():
    none = torch.zeros(3, dtype=torch.bool)
    for mean in (torch.zeros(3), P[0]):
        assert torch.equal(update_mean_probabilities(mean, P, none), mean)


def test_what_is_not_kept_may_hold_nan():
    holed = P.clone()
    holed[1] = torch.nan
    kept = torch.tensor([True, False, True])
    expected = update_mean_probabilities(P[1], P, kept)
    assert torch.equal(update_mean_probabilities(P[1], holed, kept), expected)


def test_golden_diversity_and_certainty_weights():
    weights = diversity_certainty_weights(LOGITS, torch.full((3,), 1 / 3), 1 / 3)
    torch.testing.assert_close(weights, torch.tensor([20.085537, 0, 0]), atol=1e-5, rtol=0)


def test_diversity_and_certainty_weights_against_a_loop():
    logits = torch.randn(7, 4, generator=torch.Generator().manual_seed(0))
    mean = torch.tensor([0.1, 0.2, 0.3, 0.4])
    p = [row.softmax(0) for row in logits]
    diversity = [1 - (row @ mean / (row.norm() * mean.norm())).item() for row in p]
    certainty = [(row * row.log()).sum().item() for row in p]
    d, c = (
        [(value - min(values)) / (max(values) - min(values)) for value in values]
        for values in (diversity, certainty)
    )
    expected = [
        0.0 if mine < sum(d) / len(d) else math.exp(mine * sure / 0.5)
        for mine, sure in zip(d, c, strict=True)
    ]
    weights = diversity_certainty_weights(logits, mean, 0.5)
    torch.testing.assert_close(weights, torch.tensor(expected), atol=1e-4, rtol=1e-4)
    assert 0 < (weights > 0).sum() < 7


@pytest.mark.parametrize("hole", [torch.nan, torch.inf, -torch.inf])
def test_a_row_that_is_not_finite_weighs_nothing_and_does_not_count(hole):
    logits = torch.randn(7, 4, generator=torch.Generator().manual_seed(0))
    mean, holed = torch.tensor([0.1, 0.2, 0.3, 0.4]), logits.clone()
    holed[2, 1] = hole
    others = torch.tensor([0, 1, 3, 4, 5, 6])
    weights = diversity_certainty_weights(holed, mean, 0.5)
    assert weights[2] == 0
    torch.testing.assert_close(
        weights[others], diversity_certainty_weights(logits[others], mean, 0.5)
    )
    assert not diversity_certainty_weights(torch.full((2, 4), hole), mean, 0.5).any()


def test_a_lone_sample_and_equal_samples_weigh_one():
    for logits in (LOGITS[:1], LOGITS[:1].expand(4, -1), torch.zeros(2, 3)):
        weights = diversity_certainty_weights(logits, torch.full((3,), 1 / 3), 1 / 3)
        assert torch.equal(weights, torch.ones(len(logits)))


def test_selected_mean():
    values = torch.tensor([1.0, torch.inf, 3.0], requires_grad=True)
    mean = selected_mean(values, torch.tensor([True, False, True]))
    mean.backward()
    assert mean.item() == 2
    assert values.grad.tolist() == [0.5, 0, 0.5]
    assert selected_mean(values, torch.zeros(3, dtype=torch.bool)).item() == 0
