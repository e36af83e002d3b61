"""Prototype matching and the contrastive loss of RMT and SANTA.

Döbler et al., "Robust Mean Teacher for Continual and Gradual Test-Time Adaptation", CVPR 2023.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


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
