"""Figures of single samples, on the device."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tta.tasks.finite import finite_rows


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
    """Return ``[4, B]``, the rows of :data:`tta.tasks.metric.SAMPLE_COLUMNS`: correct (0 or 1),
    top-1 confidence, NLL (nats) and Brier score (0 to 2).

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


@torch.no_grad()
def predictions(outputs: Tensor, kind: str) -> Tensor:
    """Return the classes ``[B]`` as numbers, NaN where outputs ``[B, C]`` tell none."""
    return outputs.argmax(1).float().where(finite_rows(outputs, kind), torch.nan)


@torch.no_grad()
def open_set_metrics(
    outputs: Tensor, labels: Tensor, kind: str, score: Callable[[Tensor], Tensor]
) -> Tensor:
    """Return ``[6, B]``, the rows of :func:`sample_metrics`, whether an image is known (0 or 1),
    and its score, NaN where its outputs are not finite.

    An unknown image is never right, and has neither NLL nor Brier score: NaN.

    Args:
        outputs: ``[B, C]``.
        labels: ``[B]``, on the same device; -1 for unknown images.
        kind: see :func:`log_probabilities`.
        score: of outputs ``[B, C]``: how much each image looks known ``[B]``.
    """
    known = labels >= 0
    correct, confidence, *losses = sample_metrics(outputs, labels.clamp_min(0), kind)
    losses = [loss.where(known, torch.nan) for loss in losses]
    finite = finite_rows(outputs, kind)
    scores = score(outputs).to(confidence.dtype).where(finite, torch.nan)
    right = (correct > 0) & known
    return torch.stack(
        [right.to(correct.dtype), confidence, *losses, known.to(correct.dtype), scores]
    )
