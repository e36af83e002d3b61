"""Digital corruptions: brightness, contrast, saturation, pixelation and JPEG compression."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from tta.corruptions.jpeg import encode_jpeg, fastest_decoder
from tta.corruptions.pixels import truncate
from tta.corruptions.random import ImageRandom


def brightness(images: Tensor, shift: float, random: ImageRandom) -> Tensor:
    """Add ``shift`` to the value of HSV (image in [0, 1])."""
    value = images.amax(1, keepdim=True)
    entries = value.int().mul_(256).add(images)
    table = _brightness_levels(shift, images.device)
    return table.index_select(0, entries.flatten()).view(images.shape)


@lru_cache(maxsize=16)
def _brightness_levels(shift: float, device: torch.device) -> Tensor:
    """Return uint8 [256 * 256]: the new level by (value, old level); hue and saturation stay."""
    levels = torch.arange(256, dtype=torch.float64)
    value = levels[:, None]
    raised = (value + 255 * shift).clamp(max=255)
    table = torch.where(value > 0, levels * raised / value.clamp(min=1), raised)
    return truncate(table).flatten().to(device)


def saturate(images: Tensor, constants: tuple[float, float], random: ImageRandom) -> Tensor:
    """Scale and shift the saturation of HSV; grey pixels, of hue 0, turn reddish."""
    factor, shift = constants
    levels = images.double()
    value = levels.amax(1, keepdim=True)
    spread = value - levels.amin(1, keepdim=True)
    new_spread = torch.minimum(spread * factor + value * shift, value)
    hue_zero = torch.tensor([0.0, 1.0, 1.0], dtype=torch.float64, device=images.device)
    depth = (value - levels) * new_spread / spread.clamp(min=1)
    grey_depth = new_spread * hue_zero.view(1, 3, 1, 1)
    return truncate(value - torch.where(spread > 0, depth, grey_depth))


def contrast(images: Tensor, factor: float, random: ImageRandom) -> Tensor:
    """Shrink the distance to each channel's mean by ``factor``."""
    levels = images.double()
    mean = levels.mean((2, 3), keepdim=True)
    return truncate(levels.sub_(mean).mul_(factor).add_(mean))


def pixelate(images: Tensor, factor: float, random: ImageRandom) -> Tensor:
    """Shrink by ``factor`` with Pillow's box filter and enlarge again."""
    side = images.shape[-1]
    small = int(side * factor)
    return _box_resize(_box_resize(images, small), side)


def _box_resize(images: Tensor, side: int) -> Tensor:
    """Resize columns, then rows, rounding to bytes after each, as Pillow does."""
    weights, source = _box_filter(images.shape[-1], side, images.device)
    if side >= images.shape[-1]:  # enlarging: every pixel is that of one source
        rows = source.expand(*images.shape[:-1], side)
        return images.gather(-1, rows).index_select(-2, source)
    columns = (images.float() @ weights.T).add_(0.5).floor_()
    return (weights @ columns).add_(0.5).to(torch.uint8)


@lru_cache(maxsize=32)
def _box_filter(source: int, target: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return Pillow's box filter, float32 ``[target, source]``, and the first pixel of each row.

    Every result is the mean of one to five bytes: float32 finds which byte is nearest, and rounds
    up what lies between two, just as Pillow's fixed point does.
    """
    scale = source / target
    support = 0.5 * max(scale, 1.0)
    centres = (torch.arange(target, dtype=torch.float64)[:, None] + 0.5) * scale
    first = (centres - support + 0.5).floor().clamp(min=0)
    last = (centres + support + 0.5).floor().clamp(max=source)
    columns = torch.arange(source, dtype=torch.float64)
    distance = (columns - centres + 0.5) / max(scale, 1.0)
    inside = (columns >= first) & (columns < last) & (distance > -0.5) & (distance <= 0.5)
    members = inside.float()
    return (members / members.sum(1, keepdim=True)).to(device), members.argmax(1).to(device)


def jpeg_compression(images: Tensor, quality: int, random: ImageRandom) -> Tensor:
    """Encode and decode as JPEG of ``quality`` 1 to 95."""
    return as_jpeg(images, quality)


def as_jpeg(images: Tensor, quality: int) -> Tensor:
    """Return uint8 images through a JPEG file (4:2:0) by Pillow, on the CPU for any device."""
    pictures = images.cpu().numpy()
    decoded = np.empty_like(pictures)
    decode = fastest_decoder()
    for picture, target in zip(pictures, decoded, strict=True):
        target[...] = decode(encode_jpeg(picture, quality))
    return torch.from_numpy(decoded).to(images.device)
