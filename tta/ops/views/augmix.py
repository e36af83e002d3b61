"""AugMix views of single images, as MEMO draws them: batched, on any device, nothing waits.

Hendrycks et al., "AugMix", ICLR 2020; crops, strengths and the 8-bit arithmetic of Pillow as in
the code of MEMO (Zhang et al., NeurIPS 2022). A step of all chains is one affine map, the
identity where none was drawn, and one table look-up of the 256 levels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from tta.ops.generators import generator_on
from tta.ops.views.layout import memory_format_of

OPERATIONS = (
    "autocontrast",
    "equalize",
    "rotate",
    "solarize",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
    "posterize",
)
NONE = len(OPERATIONS)
"""The number of the operation that changes nothing."""

_CHAINS, _DEPTH = 3, 3
_MARGIN = 4
_CROP_TRIALS = 10
_TRUNCATION_SLACK = 0.02
"""Pillow truncates interpolated levels; what float32 loses must not cost a whole level."""


@dataclass(frozen=True)
class AugMix:
    """Cropped, mirrored and AugMix-ed views: every image of a batch has draws of its own.

    Attributes:
        crop: "padded" shifts by up to 4 pixels, over black (CIFAR); "resized" enlarges a random
            part of 8 to 100 % of the area (ImageNet).
        fill: level (0 to 255) per channel of what an operation moves into view.
    """

    crop: Literal["padded", "resized"] = "padded"
    fill: tuple[int, int, int] = (128, 128, 128)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return a view of each of ``images`` ``[B, 3, H, W]`` in [0, 1], of the same shape.

        Args:
            images: on any device; repeat an image for several views of it.
            generator: CPU generator.
        """
        draws = generator_on(images.device, generator)
        crop = shift_and_flip if self.crop == "padded" else resized_crop_and_flip
        cropped = crop((images.clamp(0, 1) * 255).round(), draws)
        views = mix_chains(cropped, draws, self.fill) / 255
        return views.contiguous(memory_format=memory_format_of(images))


def mix_chains(levels: Tensor, draws: torch.Generator, fill: tuple[int, int, int]) -> Tensor:
    """Mix each image ``[N, 3, H, W]``, levels 0 to 255, with three chains of operations on it.

    Args:
        levels: whole numbers as floats.
        draws: generator on their device.
        fill: see :class:`AugMix`.
    """
    weights = -_uniform(draws, levels, _CHAINS).clamp_min(1e-12).log()
    weights = weights / weights.sum(1, keepdim=True)  # Dirichlet(1, 1, 1)
    mixed = torch.zeros_like(levels)
    for chain in range(_CHAINS):
        mixed += weights[:, chain, None, None, None] * _chain(levels, draws, fill)
    return mixed.lerp(levels, _uniform(draws, levels, 1)[:, :, None, None])


def _chain(levels: Tensor, draws: torch.Generator, fill: tuple[int, int, int]) -> Tensor:
    count = len(levels)
    depth = torch.randint(1, _DEPTH + 1, (count,), generator=draws, device=levels.device)
    for step in range(_DEPTH):
        chosen = torch.randint(NONE, (count,), generator=draws, device=levels.device)
        strength, sign = _uniform(draws, levels, 2).unbind(1)
        levels = apply_operation(
            levels,
            torch.where(step < depth, chosen, NONE),
            0.1 + 0.9 * strength,
            torch.where(sign > 0.5, -1.0, 1.0),
            fill,
        )
    return levels


def apply_operation(
    levels: Tensor, operation: Tensor, strength: Tensor, sign: Tensor, fill: tuple[int, int, int]
) -> Tensor:
    """Apply to each image an operation of its own.

    Args:
        levels: ``[N, 3, H, W]``, whole numbers from 0 to 255 as floats.
        operation: ``[N]``, numbers into :data:`OPERATIONS`, or :data:`NONE`.
        strength: ``[N]``, between 0.1 and 1 on a scale that ends at 10.
        sign: ``[N]``, 1 or -1: the direction of geometric operations.
        fill: see :class:`AugMix`.
    """
    height, width = levels.shape[-2:]

    def amount(name: str, value: Tensor) -> Tensor:
        drawn = torch.where(operation == OPERATIONS.index(name), sign * value, 0.0)
        return drawn[:, None, None]

    x, y = _pixel_centres(levels)
    angle = amount("rotate", (3 * strength).floor()) * (-math.pi / 180)
    across, down = x - width / 2, y - height / 2
    source_x = angle.cos() * across + angle.sin() * down + width / 2
    source_y = angle.cos() * down - angle.sin() * across + height / 2
    source_x = source_x + amount("shear_x", 0.03 * strength) * y
    source_y = source_y + amount("shear_y", 0.03 * strength) * x
    source_x = source_x + amount("translate_x", (width / 30 * strength).floor())
    source_y = source_y + amount("translate_y", (height / 30 * strength).floor())
    moved = _fill_outside(_sample(levels, source_x, source_y), source_x, source_y, fill)
    return _look_up(moved, _tables(moved, operation, strength))


def shift_and_flip(levels: Tensor, draws: torch.Generator) -> Tensor:
    """Shift each image by up to 4 pixels either way, over black, and mirror half of them."""
    shift = torch.randint(
        -_MARGIN, _MARGIN + 1, (2, len(levels), 1, 1), generator=draws, device=levels.device
    )
    x, y = _pixel_centres(levels)
    x, y = _flip(x, levels, draws) + shift[0], y + shift[1]
    return _fill_outside(_sample(levels, x, y), x, y, (0, 0, 0))


def shifted_and_flipped(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shift each image in [0, 1] as :func:`shift_and_flip` does, with draws from a CPU generator.

    torchvision's ``RandomCrop`` to the same size, padded by 4, and ``RandomHorizontalFlip``.
    """
    levels = (images.clamp(0, 1) * 255).round()
    shifted = shift_and_flip(levels, generator_on(images.device, generator))
    return (shifted / 255).contiguous(memory_format=memory_format_of(images))


def resized_crop_and_flip(
    levels: Tensor,
    draws: torch.Generator,
    least_area: float = 0.08,
    flip: bool = True,
    slack: float = _TRUNCATION_SLACK,
) -> Tensor:
    """Enlarge a random part of each image to the whole, and mirror half of them.

    See :func:`crop_boxes`.

    Args:
        levels: ``[N, 3, H, W]``, 0 to 255.
        draws: generator on their device.
        least_area: share of the area that the part covers at least; at most it covers all.
        flip: whether any are mirrored.
        slack: added to interpolated levels before they are truncated; 0.5 rounds them.
    """
    height, width = levels.shape[-2:]
    left, top, w, h = (side[:, None, None] for side in crop_boxes(levels, draws, least_area))
    x, y = _pixel_centres(levels)
    x = _flip(x, levels, draws) if flip else x
    x = _within(left + x * (w / width), left, w)
    return _sample(levels, x, _within(top + y * (h / height), top, h), slack)


def crop_boxes(images: Tensor, draws: torch.Generator, least_area: float = 0.08) -> Tensor:
    """Draw a part of each image, of an aspect ratio from 3/4 to 4/3.

    The first of ten draws that fits; where none does, the largest part in the middle that has such
    a ratio (torchvision's ``RandomResizedCrop``).

    Args:
        images: ``[N, C, H, W]``.
        draws: generator on their device.
        least_area: share of the area that a part covers at least; at most it covers all.

    Returns:
        Left, top, width and height ``[4, N]``, whole numbers as floats.
    """
    height, width = images.shape[-2:]
    drawn = _uniform(draws, images, 2 * _CROP_TRIALS + 2)
    share = least_area + (1 - least_area) * drawn[:, :_CROP_TRIALS]
    area = share * (height * width)
    ratio = (math.log(4 / 3) * (2 * drawn[:, _CROP_TRIALS : 2 * _CROP_TRIALS] - 1)).exp()
    sides = torch.stack([(area * ratio).sqrt().round(), (area / ratio).sqrt().round()])
    sizes = torch.cat([drawn.new_full((1,), side) for side in (width, height)])
    fits = (sides <= sizes[:, None, None]).all(0)
    fit, first = fits.any(1), fits.int().argmax(1, keepdim=True).expand(2, -1, 1)
    most = sizes.minimum((sizes.flip(0) * (4 / 3)).round())[:, None]
    chosen = torch.where(fit, sides.gather(2, first.reshape(2, -1, 1))[..., 0], most)
    room = sizes[:, None] - chosen
    place = torch.where(fit, drawn[:, -2:].T * (room + 1), room / 2).floor()
    return torch.cat([place, chosen])


def _within(coordinate: Tensor, start: Tensor, length: Tensor) -> Tensor:
    """Keep to the pixels of a crop: a resized crop knows nothing of its surroundings."""
    return coordinate.maximum(start + 0.5).minimum(start + length - 0.5)


def _uniform(draws: torch.Generator, like: Tensor, columns: int) -> Tensor:
    return torch.rand(len(like), columns, generator=draws, device=like.device)


def _pixel_centres(levels: Tensor) -> tuple[Tensor, Tensor]:
    height, width = levels.shape[-2:]
    x = torch.arange(width, device=levels.device, dtype=levels.dtype) + 0.5
    y = torch.arange(height, device=levels.device, dtype=levels.dtype) + 0.5
    return x[None, None], y[None, :, None]


def _flip(x: Tensor, levels: Tensor, draws: torch.Generator) -> Tensor:
    mirrored = _uniform(draws, levels, 1)[:, :, None] < 0.5
    return torch.where(mirrored, levels.shape[-1] - x, x)


def _sample(levels: Tensor, x: Tensor, y: Tensor, slack: float = _TRUNCATION_SLACK) -> Tensor:
    """Interpolate at pixel coordinates ``[N, H, W]``, centres at halves, into whole levels."""
    height, width = levels.shape[-2:]
    x, y = torch.broadcast_tensors(x, y)
    grid = torch.stack([2 * x / width - 1, 2 * y / height - 1], dim=-1)
    values = F.grid_sample(levels, grid, padding_mode="border", align_corners=False)
    return (values + slack).floor().clamp_(0, 255)


def _fill_outside(levels: Tensor, x: Tensor, y: Tensor, fill: tuple[int, int, int]) -> Tensor:
    height, width = levels.shape[-2:]
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    colour = torch.stack([torch.full_like(levels[0, 0], level) for level in fill])
    return torch.where(inside[:, None], levels, colour)


def _look_up(levels: Tensor, tables: Tensor) -> Tensor:
    indices = levels.flatten(2).long()
    return tables.gather(2, indices).view(levels.shape).to(levels.dtype)


def _tables(levels: Tensor, operation: Tensor, strength: Tensor) -> Tensor:
    """Return what becomes of each level, ``[N, 3, 256]``; integers, as Pillow computes them."""
    level = torch.arange(256, device=levels.device)
    threshold = 256 - (25.6 * strength).floor()[:, None, None]
    values = levels.flatten(2).long()
    candidates = {
        "autocontrast": _autocontrast_table(values, level),
        "equalize": _equalize_table(values),
        "solarize": torch.where(level < threshold, level, 255 - level),
        "posterize": level // 16 * 16,  # 4 bits: every strength below 2.5 rounds to them
    }
    tables = level.expand(len(levels), 3, 256)
    for name, table in candidates.items():
        chosen = operation == OPERATIONS.index(name)
        tables = torch.where(chosen[:, None, None], table, tables)
    return tables


def _autocontrast_table(values: Tensor, level: Tensor) -> Tensor:
    low, high = (bound[..., None] for bound in values.aminmax(dim=2))
    stretched = (255 * (level - low) // (high - low).clamp_min(1)).clamp(0, 255)
    return torch.where(high > low, stretched, level)


def _equalize_table(values: Tensor) -> Tensor:
    histogram = values.new_zeros(*values.shape[:2], 256)
    histogram.scatter_add_(2, values, torch.ones_like(values))
    last = histogram.gather(2, values.amax(2, keepdim=True))
    step = (values.shape[2] - last) // 255
    below = histogram.cumsum(2) - histogram
    table = ((step // 2 + below) // step.clamp_min(1)).clamp_max(255)
    return torch.where(step > 0, table, torch.arange(256, device=values.device))
