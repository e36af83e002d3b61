"""Correction of predictions by the classes' frequency in the batch."""

from __future__ import annotations

import torch
from torch import Tensor


def smoothed_prior(logits: Tensor) -> Tensor:
    """Return the mean prediction of a batch, smoothed, ``[C]``; it sums to 1.

    ``(pi + s) / (1 + s C)`` with pi the mean of softmax(logits ``[B, C]``) and
    ``s = max(1/B, 1/C) / max(pi)``: nearly uniform where the batch says little about the
    classes' frequency. Rows of logits that are not all finite do not count. ROID (Marsden et al.,
    WACV 2024).
    """
    batch, classes = logits.shape
    finite = logits.isfinite().all(1, keepdim=True)
    # A factor of exactly 1 where all count.
    share = batch / finite.sum().clamp_min(1)
    prior = torch.where(finite, logits.softmax(1), 0).mean(0) * share
    smoothing = max(1 / batch, 1 / classes) / prior.max()
    return (prior + smoothing) / (1 + smoothing * classes)


def correct_prior(logits: Tensor) -> Tensor:
    """Return ``C * logits * smoothed_prior(logits)``, logits ``[B, C]``.

    A product of logits, as in ROID's code, which leaves out the number of classes C. The predicted
    classes are the same; but with it a uniform prior changes nothing, and without it confidences
    are near 1/C whatever the model says.
    """
    return logits.shape[1] * smoothed_prior(logits) * logits
