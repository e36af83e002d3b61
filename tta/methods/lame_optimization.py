"""Laplacian adjusted maximum-likelihood estimation (LAME).

Boudiaf et al., "Parameter-free Online Test-time Adaptation", CVPR 2022.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Squared distances of unit vectors carry about this much rounding in float32.
_DISTANCE_FLOOR = 1e-5
_CHECK_EVERY = 4


def knn_affinity(features: Tensor, k: int) -> Tensor:
    """Weight 1 from each sample to its ``k`` nearest other samples, 0 elsewhere.

    Args:
        features: ``[N, D]``, of any norm: they are L2-normalised here.
        k: number of neighbours; all others where there are fewer.

    Returns:
        ``[N, N]`` with a zero diagonal, in general not symmetric.
    """
    distances = _squared_distances(features).fill_diagonal_(torch.inf)
    neighbours = distances.topk(min(k, len(features) - 1), largest=False).indices
    return torch.zeros_like(distances).scatter_(1, neighbours, 1.0)


def rbf_affinity(features: Tensor, k: int) -> Tensor:
    """Gaussian weights exp(-d^2 / 2 sigma^2), the diagonal (1) included.

    Sigma is the mean distance to the ``k``-th nearest sample, where each sample counts as its
    own first. Distances below float32 rounding count as that rounding, so that identical
    samples (or k = 1) give a finite weight near 1 instead of 0/0.

    Args:
        features: ``[N, D]``, of any norm: they are L2-normalised here.
        k: rank of the neighbour, at least 1; the farthest where there are fewer.
    """
    squared = _squared_distances(features)
    rank = min(k, len(features))
    # Not kthvalue, which on CUDA is refused where algorithms must be deterministic.
    sigma = squared.topk(rank, dim=1, largest=False).values[:, -1].sqrt().mean()
    return torch.exp(squared / (-2 * sigma.square().clamp(min=_DISTANCE_FLOOR)))


def linear_affinity(features: Tensor) -> Tensor:
    """Cosine similarity of ``[N, D]`` features of any norm, the diagonal (1) included."""
    unit = F.normalize(features, dim=1)
    return unit @ unit.T


def symmetrize(affinity: Tensor) -> Tensor:
    """Return the mean of a square matrix and its transpose."""
    return (affinity + affinity.T) / 2


@torch.no_grad()
def laplacian_optimization(
    probabilities: Tensor, affinity: Tensor, *, bound_lambda: float = 1.0, max_steps: int = 100
) -> Tensor:
    """Pull the assignments of neighbouring samples together.

    Iterates Y <- softmax(log(P + 1e-10) + lambda W Y) from Y = P until the energy, the sum of
    -logsumexp over the rows, changes by no more than 1e-8 of its size. The device is asked only
    every few steps whether that has happened; what is returned is the Y of the first such step.

    Args:
        probabilities: ``[N, C]`` of the source model; rows sum to 1.
        affinity: ``[N, N]`` weights W.
        bound_lambda: weight of the Laplacian term.
        max_steps: bound on the number of iterations.

    Returns:
        ``[N, C]`` probabilities, not logits. A lone sample keeps its source probabilities: its
        only neighbour is itself, which would just sharpen them.
    """
    if len(probabilities) == 1:
        return probabilities
    unary = torch.log(probabilities + 1e-10)
    assignment = unary.softmax(dim=1)
    energy = unary.new_full((len(unary),), torch.inf)
    converged = torch.zeros((), dtype=torch.bool, device=unary.device)
    for step in range(max_steps):
        logits = torch.addmm(unary, affinity, assignment, alpha=bound_lambda)
        assignment = torch.where(converged, assignment, logits.softmax(dim=1))
        previous, energy = energy, -logits.logsumexp(dim=1)
        if step > 1:
            # Summed after the subtraction: the totals alone, in float32, hide such a change.
            change = (energy - previous).sum().abs()
            converged |= change <= 1e-8 * energy.sum().abs()
        if step % _CHECK_EVERY == _CHECK_EVERY - 1 and converged:
            break
    return assignment


def _squared_distances(features: Tensor) -> Tensor:
    """[N, N] squared Euclidean distances of the L2-normalised features, by a Gram matrix."""
    gram = linear_affinity(features)
    norms = gram.diagonal()
    squared = norms[:, None] + norms[None, :] - 2 * gram
    return squared.clamp_(min=0).fill_diagonal_(0)
