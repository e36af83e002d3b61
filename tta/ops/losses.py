"""Losses of test-time adaptation, one value per sample: logits ``[B, C]`` -> ``[B]``.

All logarithms are natural. None of them clips or adds an epsilon: log-softmax is exact.
"""

from __future__ import annotations

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
