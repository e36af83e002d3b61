"""Maps over the pixels of images: rows of them, means over them, in another size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def enlarged(maps: Tensor, size: tuple[int, int], align_corners: bool = False) -> Tensor:
    """Return maps ``[B, C, h, w]`` in ``size`` (height, width), bilinearly; of that size as is."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=align_corners)


def rows(values: Tensor) -> Tensor:
    """Return ``[B, C, ...]`` as ``[N, C]``: one row per image, or per pixel of every image."""
    return values if values.dim() == 2 else values.movedim(1, -1).flatten(0, -2)


def over_pixels(per_image: Tensor, like: Tensor) -> Tensor:
    """Return values of images ``[B]``, shaped to meet those of their pixels ``[B, ...]``."""
    return per_image.view(-1, *[1] * (like.dim() - 1))


def class_vector(values: Tensor, like: Tensor) -> Tensor:
    """Return values of classes ``[C]``, shaped to meet ``[B, C, ...]``."""
    return values.view(1, -1, *[1] * (like.dim() - 2))


def kept_means(values: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean of each image's kept pixels ``[B, C]``, and whether it has any ``[B]``.

    An image without is all zeros; what is not kept may hold NaN. Values of images, ``[B, C]``, are
    their own means.

    Args:
        values: ``[B, C, ...]``.
        kept: mask ``[B, ...]``.
    """
    if values.dim() == 2:
        return values, kept
    total = torch.where(kept[:, None], values, 0).flatten(2).sum(2)
    count = kept.flatten(1).sum(1)
    return total / count.clamp_min(1)[:, None], count > 0
