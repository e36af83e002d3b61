"""What CoTTA's teacher says of pixels: views in several sizes, averaged where the source doubts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from tta.ops.maps import enlarged

SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
"""Sizes of the views, relative to the image; each also mirrored: fourteen views."""

Model = Callable[[Tensor], Tensor]


def probabilities(model: Model, images: Tensor, size: Sequence[int], aligned: bool) -> Tensor:
    """Return probabilities ``[B, C, H, W]`` of pixels: of logits that are enlarged to ``size``."""
    return enlarged(model(images), tuple(size), aligned).softmax(1)


def resized(images: Tensor, scale: float) -> Tensor:
    """Return images of ``scale`` times the size, bilinear, at least one pixel a side."""
    if scale == 1:
        return images
    size = [max(1, int(side * scale + 0.5)) for side in images.shape[-2:]]
    return F.interpolate(images, size, mode="bilinear", align_corners=False)


@torch.no_grad()
def teach(
    teacher: Model, images: Tensor, doubtful: Tensor, scales: Sequence[float], aligned: bool
) -> Tensor:
    """Return the teacher's probabilities ``[B, C, H, W]``, in the size of the images.

    Of a doubtful pixel they are the mean over views, each size plain and mirrored (mirrored back
    before); of all others those of the image itself.

    Args:
        teacher: images -> logits ``[B, C, h, w]``.
        images: ``[B, 3, H, W]``.
        doubtful: bool ``[B, H, W]``.
        scales: sizes of the views.
        aligned: see :func:`tta.ops.maps.enlarged`.
    """
    size = images.shape[-2:]
    plain, total = None, 0
    for scale in scales:
        view = resized(images, scale)
        straight = probabilities(teacher, view, size, aligned)
        plain = straight if scale == 1 else plain
        total = total + straight + probabilities(teacher, view.flip(-1), size, aligned).flip(-1)
    plain = probabilities(teacher, images, size, aligned) if plain is None else plain
    return torch.where(doubtful[:, None], total / (2 * len(scales)), plain)


@torch.no_grad()
def doubtful_pixels(anchor: Model, images: Tensor, threshold: Tensor, aligned: bool) -> Tensor:
    """Return where the source model's largest probability is not above ``threshold``, [B, H, W]."""
    return probabilities(anchor, images, images.shape[-2:], aligned).amax(1) <= threshold


def imitation(logits: Tensor, taught: Tensor, aligned: bool, hard: bool) -> Tensor:
    """Return the mean over all pixels of the cross-entropy against what was taught, a scalar.

    Args:
        logits: ``[B, C, h, w]``, enlarged to the size of the probabilities.
        taught: probabilities ``[B, C, H, W]``.
        aligned: see :func:`tta.ops.maps.enlarged`.
        hard: against the class of the largest probability, not the probabilities.
    """
    logits = enlarged(logits, tuple(taught.shape[-2:]), aligned)
    return F.cross_entropy(logits, taught.argmax(1) if hard else taught)
