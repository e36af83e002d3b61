"""Images moved by whole pixels: the weakest view of an image, which keeps its class."""

from __future__ import annotations

import torch
from torch import Tensor

from tta.ops.generators import generator_on
from tta.ops.views.layout import memory_format_of

SHARE = 1 / 8
"""Of a side, the farthest that an image is moved, as crops of padded images are."""


def shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """Move every image by whole pixels, at most an eighth of its sides, edges repeated.

    Args:
        images: ``[B, C, H, W]``, on any device, which is not waited for.
        generator: CPU generator; the moves are drawn for each image and direction alone.
    """
    batch, _, height, width = images.shape
    device = images.device
    drawn = torch.rand(2, batch, generator=generator_on(device, generator), device=device)
    up, left = (_moves(one, side) for one, side in zip(drawn, (height, width), strict=True))
    return moved(images, -up, -left)


def moved(images: Tensor, down: Tensor, right: Tensor, wraps: Tensor | None = None) -> Tensor:
    """Move images by whole pixels; at the edge that they leave, the outermost ones are repeated.

    Args:
        images: ``[B, C, H, W]`` of any type, on any device, which is not waited for.
        down: pixels ``[B]``, negative ones upwards.
        right: likewise.
        wraps: whether what leaves an image comes in again on the other side ``[B]``; None: of none.
    """
    batch, _, height, width = images.shape
    device = images.device
    rows, columns = (
        _places(torch.arange(side, device=device) - step[:, None], side, wraps)
        for step, side in zip((down, right), (height, width), strict=True)
    )
    number = torch.arange(batch, device=device)[:, None, None]
    found = images.permute(0, 2, 3, 1)[number, rows[:, :, None], columns[:, None, :]]
    return found.permute(0, 3, 1, 2).contiguous(memory_format=memory_format_of(images))


def _places(wanted: Tensor, side: int, wraps: Tensor | None) -> Tensor:
    """Return where pixels ``[B, side]`` are taken from that may lie outside of an image."""
    repeated = wanted.clamp(0, side - 1)
    return repeated if wraps is None else repeated.where(wraps[:, None] == 0, wanted % side)


def _moves(drawn: Tensor, side: int) -> Tensor:
    """Return whole moves ``[B]``, each as likely, of uniform draws in [0, 1)."""
    most = int(side * SHARE)
    return (drawn * (2 * most + 1)).long() - most
