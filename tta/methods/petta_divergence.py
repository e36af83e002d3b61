"""How far the features of predicted classes have moved from the source's."""

from __future__ import annotations

import torch
from torch import Tensor


def class_divergence(
    means: Tensor,
    source_means: Tensor,
    source_variances: Tensor,
    source_counts: Tensor,
    counts: Tensor,
    eps: float = 1e-6,
) -> Tensor:
    """Return ``1 - exp(-d)``, with d the mean of ``(mean - source mean)^2 / (variance + eps)``.

    The mean is over the classes of the batch and all dimensions. A class with fewer than two
    source features has no variance and does not count; 0 where no class does. Between 0 and 1.
    PeTTA (Hoang et al., NeurIPS 2024), section 4, as its authors' code averages.

    Args:
        means: running mean features ``[C, D]``.
        source_means: ``[C, D]``.
        source_variances: ``[C, D]``.
        source_counts: source features of each class ``[C]``.
        counts: features of each class in the batch ``[C]``.
        eps: added to the variances.
    """
    counted = (counts > 0) & (source_counts > 1)
    distances = (means - source_means).square() / (source_variances + eps)
    distance = torch.where(counted, distances.mean(1), 0).sum() / counted.sum().clamp_min(1)
    return -torch.expm1(-distance)


def class_mean_update(
    means: Tensor, features: Tensor, labels: Tensor, counts: Tensor, momentum: float
) -> Tensor:
    """Return running class means moved to those of a batch by ``momentum``.

    Args:
        means: ``[C, D]``; those of classes without a feature stay.
        features: ``[B, D]``.
        labels: classes of the features ``[B]``; C for features that are left out.
        counts: features of each class ``[C]``, see :func:`class_counts`.
        momentum: between 0 and 1.
    """
    sums = means.new_zeros(len(means) + 1, means.shape[1]).index_add_(0, labels, features)[:-1]
    batch = sums / counts.clamp_min(1)[:, None]
    return torch.where(counts[:, None] > 0, means.lerp(batch, momentum), means)


def class_counts(labels: Tensor, num_classes: int) -> Tensor:
    """Return how many of the labels ``[B]`` are each class ``[C]``; a label C is not counted."""
    counts = torch.zeros(num_classes + 1, device=labels.device)
    return counts.index_add_(0, labels, torch.ones_like(labels, dtype=counts.dtype))[:-1]
