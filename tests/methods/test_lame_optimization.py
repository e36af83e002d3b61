from __future__ import annotations

import numpy as np
import pytest
import torch

from tta.methods.lame_optimization import (
    knn_affinity,
    laplacian_optimization,
    linear_affinity,
    rbf_affinity,
    symmetrize,
)

FEATURES = torch.tensor([[1, 0], [0.9, 0.1], [0.8, 0.2], [0, 1], [0.1, 0.9], [0.5, 0.5]])
LOGITS = torch.tensor([[2, 0], [1, 0], [-0.2, 0], [0, 2], [0, 1], [0.1, 0]])
AFFINITIES = {
    "knn": knn_affinity,
    "rbf": rbf_affinity,
    "linear": lambda features, k: linear_affinity(features),
}
GOLDEN = [
    ("rbf", 5, [0.998659, 0.996803, 0.990671, 0.888623, 0.962632, 0.993627]),
    ("knn", 1, [0.939048, 0.867392, 0.630598, 0.060952, 0.132608, 0.589330]),
    ("knn", 3, [0.990079, 0.974288, 0.926272, 0.490536, 0.653773, 0.901025]),
    ("linear", 0, [0.995191, 0.986116, 0.949083, 0.079893, 0.254818, 0.894973]),
]


def random_batch(n: int, classes: int = 7, dim: int = 20, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, dim, generator=generator)
    labels = torch.randint(classes, (n,), generator=generator)
    features = centres[labels] + 0.7 * torch.randn(n, dim, generator=generator)
    return features, (features @ centres.T / 8).softmax(dim=1)


def reference_affinity(kind: str, features: torch.Tensor, k: int) -> np.ndarray:
    f = features.double().numpy()
    f = f / np.linalg.norm(f, axis=1, keepdims=True)
    distance = np.linalg.norm(f[:, None] - f[None], axis=2)
    if kind == "linear":
        return f @ f.T
    if kind == "rbf":
        sigma = np.sort(distance, axis=1)[:, min(k, len(f)) - 1].mean()
        return np.exp(-(distance**2) / (2 * sigma**2))
    weights = np.zeros_like(distance)
    for i, row in enumerate(distance):
        weights[i, np.argsort(row)[1 : k + 1]] = 1
    return weights


def reference_optimization(p: np.ndarray, w: np.ndarray, bound_lambda: float = 1.0) -> np.ndarray:
    """The published loop with its literal energy, in float64."""

    def softmax(x):
        x = np.exp(x - x.max(axis=1, keepdims=True))
        return x / x.sum(axis=1, keepdims=True)

    unary = -np.log(p + 1e-10)
    y, old_energy = softmax(-unary), np.inf
    for step in range(100):
        pairwise = bound_lambda * w @ y
        y = softmax(-unary + pairwise)
        energy = (unary * y - pairwise * y + y * np.log(np.clip(y, 1e-20, None))).sum()
        if step > 1 and abs(energy - old_energy) <= 1e-8 * abs(old_energy):
            return y
        old_energy = energy
    return y


@pytest.mark.parametrize(("kind", "k", "expected"), GOLDEN)
def test_golden_vectors(kind, k, expected):
    probabilities = LOGITS.softmax(dim=1)
    assert probabilities[:, 0].tolist() == pytest.approx(
        [0.880797, 0.731059, 0.450166, 0.119203, 0.268941, 0.524979], abs=1e-6
    )
    result = laplacian_optimization(probabilities, AFFINITIES[kind](FEATURES, k))
    assert result[:, 0].tolist() == pytest.approx(expected, abs=1e-6)


def test_golden_bandwidth():
    weight = rbf_affinity(FEATURES, 5)[0, 3].item()
    assert np.sqrt(-1 / np.log(weight)) == pytest.approx(1.178933, abs=1e-6)  # d^2 = 2


@pytest.mark.parametrize("kind", AFFINITIES)
@pytest.mark.parametrize(("n", "k"), [(2, 5), (40, 2), (40, 5), (200, 5)])
def test_random_batches_against_the_reference(kind, n, k):
    features, probabilities = random_batch(n, seed=n + k)
    affinity = AFFINITIES[kind](features, k)
    expected = reference_affinity(kind, features, k)
    np.testing.assert_allclose(affinity.numpy(), expected, atol=1e-5)
    result = laplacian_optimization(probabilities, affinity)
    expected = reference_optimization(probabilities.double().numpy(), expected)
    np.testing.assert_allclose(result.numpy(), expected, atol=5e-6)


def test_returns_the_first_converged_step_in_float64():
    features, probabilities = random_batch(60, seed=4)
    p, w = probabilities.double(), knn_affinity(features, 3).double()
    for bound_lambda in (0.1, 1.0):
        result = laplacian_optimization(p, w, bound_lambda=bound_lambda)
        expected = reference_optimization(p.numpy(), w.numpy(), bound_lambda)
        np.testing.assert_allclose(result.numpy(), expected, atol=1e-12)


def test_rows_are_probabilities_and_zero_affinity_changes_nothing():
    _, probabilities = random_batch(30)
    nothing = laplacian_optimization(probabilities, torch.zeros(30, 30))
    torch.testing.assert_close(nothing, probabilities, atol=1e-6, rtol=0)
    one_hot = torch.eye(5)
    result = laplacian_optimization(one_hot, torch.ones(5, 5))
    torch.testing.assert_close(result.sum(dim=1), torch.ones(5))
    assert result.isfinite().all()


@pytest.mark.parametrize("kind", AFFINITIES)
def test_one_sample_keeps_its_probabilities(kind):
    features, probabilities = random_batch(1)
    affinity = AFFINITIES[kind](features, 5)
    assert affinity.isfinite().all()
    assert torch.equal(laplacian_optimization(probabilities, affinity), probabilities)


@pytest.mark.parametrize("n", [2, 6, 33])
def test_identical_features(n):
    features = torch.linspace(-1, 3, 512).repeat(n, 1)
    knn = knn_affinity(features, 1)
    assert torch.equal(knn.sum(dim=1), torch.ones(n))
    assert not knn.diagonal().any()
    torch.testing.assert_close(rbf_affinity(features, 5), torch.ones(n, n), atol=0.1, rtol=0)
    torch.testing.assert_close(linear_affinity(features), torch.ones(n, n))


def test_rbf_of_rank_one_keeps_distinct_samples_apart():
    torch.testing.assert_close(rbf_affinity(FEATURES[[0, 3]], 1), torch.eye(2))


def test_affinities_ignore_feature_norm():
    features, _ = random_batch(20)
    scaled = features * torch.linspace(0.1, 50, 20)[:, None]
    for affinity in AFFINITIES.values():
        torch.testing.assert_close(affinity(scaled, 3), affinity(features, 3))


def test_symmetrize():
    affinity = symmetrize(torch.tensor([[0.0, 1.0], [0.5, 2.0]]))
    assert affinity.tolist() == [[0.0, 0.75], [0.75, 2.0]]
