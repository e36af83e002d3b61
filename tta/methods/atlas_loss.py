"""The loss that aTLAS learns coefficients with, without labels."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

TARGETS = ("soft", "sharpened", "hard")


def pseudo_targets(logits: Tensor, kind: str) -> Tensor:
    """Return targets ``[B, C]`` of logits ``[B, C]``, without a graph.

    Args:
        logits: of the images as they are.
        kind: the probabilities themselves, their squares made a distribution again (temperature
            1/2), or all on the likeliest class.
    """
    p = logits.detach().softmax(1)
    if kind == "hard":
        return F.one_hot(p.argmax(1), p.shape[1]).to(p)
    return (2 * logits.detach()).softmax(1) if kind == "sharpened" else p


def confident(logits: Tensor, kind: str, threshold: float) -> Tensor:
    """Return which images ``[B]`` are trained on: whose greatest target exceeds ``threshold``.

    Of hard targets it is the probability that has to.
    """
    likely = pseudo_targets(logits, "soft" if kind == "hard" else kind)
    return likely.amax(1) > threshold


def unsupervised_fixmatch(strong: Tensor, targets: Tensor, chosen: Tensor) -> Tensor:
    """Return the mean cross-entropy of chosen images against their targets; 0 where none is.

    Args:
        strong: logits ``[B, C]`` of augmented images.
        targets: ``[B, C]``, see :func:`pseudo_targets`.
        chosen: ``[B]``, see :func:`confident`.
    """
    losses = -(targets * strong.log_softmax(1)).sum(1)
    return losses.where(chosen, 0).sum() / chosen.sum().clamp_min(1)
