import math

import torch

from tta.ops.losses import entropy
from tta.ops.selection import (
    entropy_margin,
    entropy_weight,
    not_redundant,
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
