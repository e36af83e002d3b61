"""Metrics of single samples, on the device, and their sums over a domain."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tta.tasks.finite import finite_rows

ECE_BINS = 15
SAMPLE_METRICS = ("correct", "confidence", "nll", "brier")


def log_probabilities(outputs: Tensor, kind: str) -> Tensor:
    """Return log-probabilities ``[B, C]`` of outputs of a declared kind.

    Args:
        outputs: ``[B, C]``.
        kind: ``logits``; ``logit_sum``, the sum of two models' logits, whose mean is the
            calibrated prediction; or ``probabilities``, to which no softmax is applied.
    """
    if kind == "probabilities":
        return outputs.float().clamp_min(torch.finfo(torch.float32).tiny).log()
    logits = outputs.float()
    return (0.5 * logits if kind == "logit_sum" else logits).log_softmax(1)


@torch.no_grad()
def sample_metrics(outputs: Tensor, labels: Tensor, kind: str) -> Tensor:
    """Return ``[4, B]``: correct (0 or 1), top-1 confidence, NLL (nats) and Brier score (0..2).

    Outputs that are not finite tell no class: such an image is wrong, and the rest of it NaN.

    Args:
        outputs: ``[B, C]``.
        labels: ``[B]``, on the same device.
        kind: see :func:`log_probabilities`.
    """
    log_p = log_probabilities(outputs, kind)
    prediction = outputs.argmax(1)
    chosen = log_p.gather(1, torch.stack([prediction, labels], 1))
    confidence, label_p = chosen.exp().unbind(1)
    brier = log_p.exp().square_().sum(1).sub_(label_p, alpha=2).add_(1)
    finite = finite_rows(outputs, kind)
    known = torch.stack([confidence, -chosen[:, 1], brier]).where(finite, torch.nan)
    return torch.cat([((prediction == labels) & finite).to(known.dtype)[None], known])


def confidence_bins(confidence: np.ndarray, bins: int = ECE_BINS) -> np.ndarray:
    """Return the number of the equal-width bin, closed on the right, of confidences (0 to 1).

    What is not a number goes to the first.
    """
    return np.clip(np.ceil(np.nan_to_num(confidence) * bins).astype(int) - 1, 0, bins - 1)


def expected_calibration_error(
    confidence: np.ndarray, correct: np.ndarray, bins: int = ECE_BINS
) -> float:
    """Return the ECE over equal-width bins of the top-1 confidence, a fraction (0 to 1).

    NaN where any confidence is. Guo et al., On calibration of modern neural networks, ICML 2017.
    """
    number = confidence_bins(confidence, bins)
    gaps = np.bincount(number, correct - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / max(len(confidence), 1))
