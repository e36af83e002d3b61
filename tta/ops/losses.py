"""Losses of test-time adaptation, one value per sample: logits ``[B, C]`` -> ``[B]``.

All logarithms are natural. None of them clips or adds an epsilon: log-softmax is exact.
"""

from __future__ import annotations

import torch
from torch import Tensor


def entropy(logits: Tensor) -> Tensor:
    """Return the Shannon entropy of ``softmax(logits)``, in nats, between 0 and ln C.

    Tent (Wang et al., ICLR 2021), eq. 1.
    """
    return -(logits.softmax(1) * logits.log_softmax(1)).sum(1)


def soft_cross_entropy(logits: Tensor, target_logits: Tensor) -> Tensor:
    """Return the cross-entropy of ``logits`` against the soft labels ``softmax(target_logits)``.

    Gradients flow into both arguments; detach the target where it is a teacher.
    """
    return -(target_logits.softmax(1) * logits.log_softmax(1)).sum(1)


def symmetric_cross_entropy(logits: Tensor, target_logits: Tensor) -> Tensor:
    """Return the mean of the cross-entropies in both directions, each weighted by one half.

    RMT (Doebler et al., CVPR 2023), eq. 2.
    """
    forward = soft_cross_entropy(logits, target_logits)
    backward = soft_cross_entropy(target_logits, logits)
    return 0.5 * (forward + backward)


def class_correlation(logits: Tensor, norm: str = "cosine") -> Tensor:
    """Return the mass of the correlations between different classes in a batch, a scalar.

    With P = softmax(logits) and R = P^T P, the sum over i != j of R_ij, normalised:

    - ``cosine``: R_ij / sqrt(R_ii R_jj), divided by C. The cosine between class columns.
    - ``row``: R_ij / sum_k R_ik, divided by C; the minimum class confusion of Jin et al.
      (ECCV 2020).
    - ``none``: R_ij / B, which is the mean Gini impurity of the samples: no sample then sees
      another.

    A reconstruction of Core's loss (You et al., 2021) from the description of its parts.
    """
    p = logits.softmax(1)
    if norm == "none":
        return (1 - p.square().sum(1)).mean()
    if norm == "cosine":
        columns = torch.nn.functional.normalize(p, dim=0, eps=1e-12)
        correlation = columns.T @ columns
    else:
        joint = p.T @ p
        correlation = joint / joint.sum(1, keepdim=True).clamp_min(1e-12)
    return (correlation.sum() - correlation.diagonal().sum()) / logits.shape[1]
