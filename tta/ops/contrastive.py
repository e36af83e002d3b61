"""Contrastive losses: with source prototypes (RMT, SANTA) and with a queue (AdaContrast).

Döbler et al., "Robust Mean Teacher for Continual and Gradual Test-Time Adaptation", CVPR 2023;
Chen et al., "Contrastive Test-Time Adaptation", CVPR 2022.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tta.ops.generators import seeded_layers


def make_projector(feature_dim: int, width: int, seed: int) -> nn.Module:
    """Return Linear-ReLU-Linear from features to ``width`` columns; the identity where it is 0.

    The weights are PyTorch's initial ones, drawn from ``seed`` alone.
    """
    if width == 0:
        return nn.Identity()
    with seeded_layers(seed):
        layers = nn.Linear(feature_dim, width), nn.ReLU(), nn.Linear(width, width)
    return nn.Sequential(*layers)


@torch.no_grad()
def nearest_prototype(features: Tensor, prototypes: Tensor) -> Tensor:
    """Return the index ``[B]`` of the prototype of highest cosine similarity.

    Args:
        features: ``[B, D]``, of any norm.
        prototypes: ``[C, D]``, of any norm.
    """
    return (F.normalize(features, dim=1) @ F.normalize(prototypes, dim=1).T).argmax(dim=1)


def prototype_contrastive_loss(views: Sequence[Tensor], temperature: float = 0.1) -> Tensor:
    """Contrast every view of a sample with the views of all other samples.

    For each of the V·B anchors u, the positives are the V - 1 other views of its sample and the
    denominator runs over all V·B - 1 other vectors:
    mean over positives of log sum_o exp(u·u_o / temperature) - u·u_pos / temperature.
    Two samples that share a prototype repel each other's copy of it, as published.

    Args:
        views: V >= 2 tensors ``[B, D]`` of projected features of any norm, sample i in row i of
            each; in RMT the nearest prototype, the test image and its augmentation. They are
            L2-normalised here.
        temperature: divides the cosine similarities.

    Returns:
        The mean over all anchors, a scalar.
    """
    unit = F.normalize(torch.stack(tuple(views)), dim=-1)
    flat = unit.flatten(0, 1)
    similarity = (flat @ flat.T / temperature).fill_diagonal_(-torch.inf)
    other_views = (unit.sum(dim=0) - unit) / (len(unit) - 1)
    positive = (unit * other_views).sum(dim=-1).flatten() / temperature
    return (similarity.logsumexp(dim=1) - positive).mean()


def contrast_with_prototypes(
    features: Tensor,
    view: Tensor,
    prototypes: Tensor,
    projector: nn.Module,
    temperature: float = 0.1,
) -> Tensor:
    """Contrast {nearest source prototype, features, features of a view} of every image, projected.

    The term of RMT and SANTA; see :func:`prototype_contrastive_loss`.

    Args:
        features: of the images ``[B, D]``.
        view: of an augmented view of each ``[B, D]``.
        prototypes: ``[C, D]``.
        projector: from D features to any number; see :func:`make_projector`.
        temperature: divides the cosine similarities.

    Returns:
        A scalar.
    """
    nearest = prototypes[nearest_prototype(features, prototypes)]
    views = [projector(group.float()) for group in (nearest, features, view)]
    return prototype_contrastive_loss(views, temperature)


def queue_contrastive_loss(
    queries: Tensor, keys: Tensor, queue: Tensor, excluded: Tensor, temperature: float = 0.07
) -> Tensor:
    """Contrast every query with the key of its own image and the queue's older keys.

    The mean over queries of log sum_o exp(q·o / temperature) - q·k / temperature, where o runs
    over k and the queue. AdaContrast excludes from it what has the query's pseudo-label.

    Args:
        queries: ``[B, D]``, of unit norm.
        keys: ``[B, D]``, of unit norm.
        queue: ``[K, D]``, of unit norm.
        excluded: mask ``[B, K]`` of the queue's keys that a query is not contrasted with.
        temperature: divides the cosine similarities.
    """
    positive = (queries * keys).sum(1, keepdim=True) / temperature
    negative = (queries @ queue.T / temperature).masked_fill(excluded, -torch.inf)
    return (torch.cat([positive, negative], 1).logsumexp(1) - positive[:, 0]).mean()
