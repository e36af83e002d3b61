"""Losses of images and the texts that belong to them, over a batch: scalars."""

from __future__ import annotations

from torch import Tensor


def pairing_loss(
    features: Tensor,
    embeddings: Tensor,
    scale: float,
    temperature: float = 0.01,
    transposed: bool = True,
    detach: bool = False,
) -> Tensor:
    """Return the cross-entropy of the texts of images against how alike images and texts are.

    With F and E, targets are the rows of ``Q = softmax((F F' + E E') / 2 / temperature)``, and
    predictions those of ``softmax(scale F E')`` (CLIPArTT, Hakim et al., WACV 2025). The authors'
    code takes Q's columns for targets, which do not sum to 1. Gradients flow through Q.

    Args:
        features: unit vectors ``[B, D]`` of images.
        embeddings: unit vectors ``[B, D]``, of a text for each image.
        scale: of cosines in predictions.
        temperature: of similarities in targets.
        transposed: take columns, as released.
        detach: let no gradient flow through Q.
    """
    alike = (features @ features.T + embeddings @ embeddings.T) / 2
    targets = (alike / temperature).softmax(1)
    targets = targets.detach() if detach else targets
    predicted = (scale * features @ embeddings.T).log_softmax(1)
    return -((targets.T if transposed else targets) * predicted).sum(1).mean()
