"""Weights over the heads of a multi-domain model: which hypothesis suits which sample.

M heads, B samples: every function returns weights ``[M, B]`` that are not negative and sum to
one over the heads. DRM (Zhang et al., KDD 2023).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

HARD = -1.0
"""The exponent that the released code takes for: the head of least entropy alone."""


def entropy_weights(entropies: Tensor, gamma: float) -> Tensor:
    """Return weights in proportion to ``H ** -gamma``, per sample.

    Args:
        entropies: of the heads' predictions, in nats ``[M, B]``.
        gamma: 0 weighs all heads alike; -1 gives all weight to the head of least entropy.
    """
    if gamma == HARD:
        return one_hot(entropies.argmin(0), len(entropies))
    # In logarithms: a sure head's entropy to a power leaves the range of float32.
    logarithms = entropies.clamp_min(torch.finfo(entropies.dtype).tiny).log()
    return (-gamma * logarithms).softmax(0)


def batch_entropy_weights(entropies: Tensor) -> Tensor:
    """Return all weight on the head whose mean entropy over the batch is least, for all samples."""
    return one_hot(entropies.mean(1).argmin().expand(entropies.shape[1]), len(entropies))


def nearest_mean_by_cosine(features: Tensor, means: Tensor, farthest: bool = False) -> Tensor:
    """Return all weight on the domain whose mean feature is nearest in angle.

    Args:
        features: ``[B, D]``.
        means: ``[M, D]``.
        farthest: choose the least similar domain instead, as the released code does.
    """
    similarity = F.normalize(features, dim=1) @ F.normalize(means, dim=1).T
    chosen = similarity.argmin(1) if farthest else similarity.argmax(1)
    return one_hot(chosen, len(means))


def nearest_mean_by_distance(features: Tensor, means: Tensor, p: float) -> Tensor:
    """Return all weight on the domain whose mean feature is nearest in the L_p norm."""
    distance = torch.cdist(features, means, p, "donot_use_mm_for_euclid_dist")
    return one_hot(distance.argmin(1), len(means))


def one_hot(chosen: Tensor, count: int) -> Tensor:
    """Return all weight on one of ``count`` heads for every sample: ``[B]`` -> ``[count, B]``."""
    return F.one_hot(chosen, count).T.float()
