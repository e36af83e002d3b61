"""Losses of test-time adaptation, one value per sample: logits ``[B, C]`` -> ``[B]``.

Of segmentation a sample is a pixel: logits ``[B, C, h, w]`` -> ``[B, h, w]``. As images of a batch
are of one size, the mean over pixels is that over images of their pixels' means. What compares
samples with each other, or takes their mean prediction, does so with all pixels of the batch.

All logarithms are natural. Where no published constant is named, nothing is clipped and no
epsilon is added: log-softmax is exact.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from tta.ops.maps import enlarged, rows


def entropy(logits: Tensor) -> Tensor:
    """Return the Shannon entropy of ``softmax(logits)``, in nats, between 0 and ln C.

    Tent (Wang et al., ICLR 2021), eq. 1.
    """
    return -(logits.softmax(1) * logits.log_softmax(1)).sum(1)


def damped_entropy(p: Tensor, epsilon: float) -> Tensor:
    """Return ``-sum p ln(p + epsilon)`` of probabilities ``[B, C]``, as some published codes do."""
    return -(p * (p + epsilon).log()).sum(1)


def opinion_entropy(logits: Tensor) -> Tensor:
    """Return the entropy of the beliefs in C classes and of the uncertainty about them.

    Subjective logic over evidence ``exp(z)``: the classes have mass ``exp(z_c) / S`` and the
    uncertainty ``C / S`` with ``S = sum exp(z) + C``. Gradients leave the norm of the logits as
    it is. Between 0 and ln(C + 1).

    COME (Zhang et al., ICLR 2025), with the number of classes for C; the
    published code has 1000 whatever the data set.
    """
    norm = logits.norm(dim=1, keepdim=True).detach()
    directed = F.normalize(logits, dim=1) * norm
    uncertainty = torch.full_like(logits[:, :1], math.log(logits.shape[1]))
    return entropy(torch.cat([directed, uncertainty], dim=1))


UNCERTAINTY = {"entropy": entropy, "come": opinion_entropy}
"""What entropy-minimising methods can minimise, and judge reliability by."""


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


def soft_likelihood_ratio(logits: Tensor, clip: float = 0.99, eps: float = 1e-5) -> Tensor:
    """Return ``-sum p ln(p / (1 - p) + eps)`` with p = softmax(logits), at most ``clip``.

    Its gradient does not vanish as the prediction becomes certain, as entropy's does; above
    ``clip`` it is zero. ROID (Marsden et al., WACV 2024).
    """
    p = logits.softmax(1).clamp_max(clip)
    return -(p * (p / (1 - p) + eps).log()).sum(1)


def generalized_cross_entropy(logits: Tensor, q: float = 0.8) -> Tensor:
    """Return ``(1 - p^q) / q`` with p the probability of the predicted class.

    Zhang and Sabuncu, NeurIPS 2018; against the own prediction in RPL (Rusak et al., 2021).
    """
    return (1 - logits.softmax(1).amax(1).pow(q)) / q


def information_maximization(logits: Tensor) -> Tensor:
    """Return the mean entropy of the predictions less the entropy of their mean, a scalar.

    SHOT-IM (Liang et al., ICML 2020). Never positive, and 0 for a single sample.
    """
    return entropy(logits).mean() - marginal_entropy(logits)


def marginal_entropy(logits: Tensor) -> Tensor:
    """Return the entropy of the mean of the predictions, a scalar between 0 and ln C.

    MEMO (Zhang et al., NeurIPS 2022), eq. 3, over the views of one image.
    """
    log_mean = mean_log_probabilities(rows(logits))
    return -(log_mean.exp() * log_mean).sum()


def mean_log_probabilities(logits: Tensor) -> Tensor:
    """Return the logarithm of the mean of the predicted probabilities, ``[C]``."""
    return logits.log_softmax(1).logsumexp(0) - math.log(len(logits))


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
    p = rows(logits.softmax(1))
    if norm == "none":
        return (1 - p.square().sum(1)).mean()
    if norm == "cosine":
        columns = F.normalize(p, dim=0, eps=1e-12)
        correlation = columns.T @ columns
    else:
        joint = p.T @ p
        correlation = joint / joint.sum(1, keepdim=True).clamp_min(1e-12)
    return (correlation.sum() - correlation.diagonal().sum()) / logits.shape[1]


def pixel_cross_entropy(
    logits: Tensor, labels: Tensor, ignore: int, align_corners: bool = False
) -> Tensor:
    """Return the mean cross-entropy of pixels against label maps, a scalar; 0 where none counts.

    Args:
        logits: ``[B, C, h, w]``, enlarged to the size of the maps.
        labels: ``[B, H, W]``, integers.
        ignore: label of pixels that do not count; nor do those of C and more.
        align_corners: see :func:`tta.ops.maps.enlarged`.
    """
    labels = labels.long()
    counted = (labels != ignore) & (labels < logits.shape[1])
    logits = enlarged(logits, tuple(labels.shape[-2:]), align_corners)
    losses = F.cross_entropy(logits, labels.where(counted, 0), reduction="none")
    return torch.where(counted, losses, 0).sum() / counted.sum().clamp_min(1)
