"""Corruptions of images that are no squares, and of the label maps that belong to images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tta.corruptions.elastic import warp_nearest
from tta.corruptions.engine import corrupt
from tta.corruptions.interpolation import severity_constants
from tta.corruptions.random import ImageRandom, draws_of
from tta.corruptions.severity import choose_table

MOVING = ("elastic_transform",)
"""Corruptions that move pixels by more than their size: labels move with them."""


def corrupt_oblong(
    images: Tensor,
    name: str,
    severity: float,
    ids: Sequence[int] | np.ndarray | Tensor,
    seed: int = 0,
    *,
    frost_textures: str | Path | None = None,
) -> Tensor:
    """Corrupt images ``[B, 3, H, W]`` of any shape; see :func:`tta.corruptions.corrupt`.

    Images are mirrored about their shorter sides' ends to a square of the longer side, which is
    corrupted, and of which their place is cut out. Of squares the result is that of ``corrupt``.
    """
    ids = torch.as_tensor(ids)
    return _in_square(
        images,
        lambda square: corrupt(square, name, severity, ids, seed, frost_textures=frost_textures),
    )


def corrupt_labels(
    labels: Tensor,
    name: str,
    severity: float,
    ids: Sequence[int] | np.ndarray | Tensor,
    seed: int = 0,
) -> Tensor:
    """Move label maps as the corruption of their images has moved these.

    Args:
        labels: uint8 ``[B, H, W]`` of clean images, in the size in which these are corrupted.
        name: of the corruption, or several joined by ``+``. Those that blur or displace pixels by
            a few leave labels as they are.
        severity: as of the images, likewise the others.
        ids: see :func:`tta.corruptions.corrupt`.
        seed: likewise.
    """
    for one in name.split("+"):
        if one in MOVING:
            draws = draws_of(torch.as_tensor(ids), one, severity, seed)
            labels = _in_square(labels, partial(_moved, one, severity, draws))
    return labels


def _moved(name: str, severity: float, draws: ImageRandom, labels: Tensor) -> Tensor:
    """Return square label maps as a corruption of these draws moves them."""
    table = choose_table(name, labels.shape[-1], None)
    return warp_nearest(labels, severity_constants(name, severity, table), draws)


def _in_square(images: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Return what is made of images that are mirrored to squares, where the images are there."""
    height, width = images.shape[-2:]
    square, (top, left) = _squared(images)
    return change(square)[..., top : top + height, left : left + width]


def _squared(images: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """Return images mirrored to squares, and the row and column where they begin there."""
    side = max(images.shape[-2:])
    tops = []
    for axis in (-2, -1):
        size = images.shape[axis]
        before = (side - size) // 2
        tops.append(before)
        if size < side:
            images = images.index_select(axis, _mirrored(size, before, side))
    return images, (tops[0], tops[1])


def _mirrored(size: int, before: int, side: int) -> Tensor:
    """Return the row of an image ``[size]`` at each of a square's, folded at its outer edges."""
    places = (torch.arange(side) - before) % (2 * size)
    return torch.minimum(places, 2 * size - 1 - places)
