"""Distillation from a teacher whose confidence weighs each sample."""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from tta.ops.losses import entropy
from tta.ops.selection import entropy_weight


class DistillationTerms(NamedTuple):
    """Means over the batch; scalars."""

    entropy: Tensor
    kl: Tensor
    cross_entropy: Tensor


def weighted_entropy(logits: Tensor, margin: float) -> Tensor:
    """Return the mean of ``exp(margin - H) * H`` over the batch; the weight has no gradient."""
    entropies = entropy(logits)
    return (entropy_weight(entropies, margin) * entropies).mean()


def distillation_terms(
    student: Tensor, teacher: Tensor, margin: float, temperature: float = 1.0
) -> DistillationTerms:
    """Return the three terms of CEMA's edge loss (Chen et al., ICLR 2024), unweighted.

    Entropy of the student, ``T^2 KL(teacher || student)`` at temperature T, and cross-entropy
    against the teacher's hard pseudo-label. The first is weighted per sample by the student's
    own ``exp(margin - H)``, the others by the teacher's.

    Args:
        student: logits ``[B, C]``.
        teacher: logits ``[B, C]``; no gradient flows into them.
        margin: entropy margin, nats.
        temperature: softens both distributions of the KL term.
    """
    teacher = teacher.detach()
    confidence = entropy_weight(entropy(teacher), margin)
    soft = [(logits / temperature).log_softmax(1) for logits in (student, teacher)]
    kl = F.kl_div(*soft, reduction="none", log_target=True).sum(1) * temperature**2
    cross_entropy = F.cross_entropy(student, teacher.argmax(1), reduction="none")
    return DistillationTerms(
        entropy=weighted_entropy(student, margin),
        kl=(confidence * kl).mean(),
        cross_entropy=(confidence * cross_entropy).mean(),
    )
