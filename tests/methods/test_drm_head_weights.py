"""Which head for which sample: golden vectors and naive versions."""

from __future__ import annotations

import pytest
import torch

from tta.methods.drm_head_weights import (
    batch_entropy_weights,
    entropy_weights,
    nearest_mean_by_cosine,
    nearest_mean_by_distance,
)

GENERATOR = torch.Generator().manual_seed(0)
ENTROPIES = torch.rand(4, 6, generator=GENERATOR) * 2
FEATURES = torch.randn(6, 5, generator=GENERATOR)
MEANS = torch.randn(3, 5, generator=GENERATOR)


@pytest.mark.parametrize(
    ("gamma", "expected"),
    [
        (0.5, (0.513554, 0.256777, 0.229668)),
        (1.0, (0.689655, 0.172414, 0.137931)),
        (5.0, (0.998705, 0.000975, 0.000320)),
        (0.0, (1 / 3, 1 / 3, 1 / 3)),
        (-1.0, (1.0, 0.0, 0.0)),
    ],
)
def test_golden_vectors(gamma, expected):
    weights = entropy_weights(torch.tensor([[0.2], [0.8], [1.0]]), gamma)
    torch.testing.assert_close(weights[:, 0], torch.tensor(expected), atol=1e-6, rtol=0)


@pytest.mark.parametrize("gamma", [-1.0, 0.0, 0.5, 1.0, 5.0])
def test_entropy_weights_equal_the_loop_over_samples(gamma):
    weights = entropy_weights(ENTROPIES, gamma)
    for sample in range(ENTROPIES.shape[1]):
        column = ENTROPIES[:, sample].tolist()
        if gamma == -1:
            naive = [float(value == min(column)) for value in column]
        else:
            total = sum(value**-gamma for value in column)
            naive = [value**-gamma / total for value in column]
        torch.testing.assert_close(weights[:, sample], torch.tensor(naive))


def test_entropies_of_zero_take_all_weight_and_stay_finite():
    weights = entropy_weights(torch.tensor([[0.0, 0.0, -1e-8], [1.0, 0.0, 1.0]]), 5.0)
    assert torch.equal(weights, torch.tensor([[1.0, 0.5, 1.0], [0.0, 0.5, 0.0]]))


def test_the_batch_chooses_one_head_by_its_mean_entropy():
    entropies = torch.tensor([[0.1, 1.0, 1.0], [0.6, 0.6, 0.6]])
    assert torch.equal(batch_entropy_weights(entropies), torch.tensor([[0.0] * 3, [1.0] * 3]))


def test_nearest_means_equal_the_loops():
    cosine = nearest_mean_by_cosine(FEATURES, MEANS)
    farthest = nearest_mean_by_cosine(FEATURES, MEANS, farthest=True)
    for b, feature in enumerate(FEATURES):
        similar = [float(feature @ mean / (feature.norm() * mean.norm())) for mean in MEANS]
        assert cosine[:, b].argmax() == similar.index(max(similar))
        assert farthest[:, b].argmax() == similar.index(min(similar))
        for p in (1.0, 2.0, 3.0):
            distant = [float((feature - mean).abs().pow(p).sum() ** (1 / p)) for mean in MEANS]
            chosen = nearest_mean_by_distance(FEATURES, MEANS, p)
            assert chosen[:, b].argmax() == distant.index(min(distant))
            assert torch.equal(chosen.sum(0), torch.ones(6))
