"""Canny's edge detector for small grey images, with OpenCV's conventions."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from tta.corruptions.filters import border_indices

_TAN_22_5 = math.tan(math.pi / 8)
_TAN_67_5 = math.tan(3 * math.pi / 8)


def canny(levels: Tensor, low: float, high: float) -> Tensor:
    """Return the edges of whole grey levels, bool [B, H, H] from float32 [B, H, H].

    Sobel gradients, L1 magnitude, suppression of what isn't a maximum across the edge, and
    hysteresis: above ``high``, or above ``low`` and connected to such a pixel.
    """
    across, down = _sobel(levels)
    magnitude = across.abs() + down.abs()
    candidates = (magnitude > low) & _is_ridge(magnitude, across, down)
    return _grow(candidates & (magnitude > high), candidates)


def _sobel(levels: Tensor) -> tuple[Tensor, Tensor]:
    border = border_indices(levels.shape[-1], 1, "nearest").to(levels.device)
    padded = levels.index_select(1, border).index_select(2, border)
    rows = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    columns = padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]
    return rows[:, :, 2:] - rows[:, :, :-2], columns[:, 2:] - columns[:, :-2]


def _is_ridge(magnitude: Tensor, across: Tensor, down: Tensor) -> Tensor:
    side = magnitude.shape[-1]
    padded = F.pad(magnitude, (1, 1, 1, 1))

    def neighbour(row: int, column: int) -> Tensor:
        return padded[:, 1 + row : 1 + row + side, 1 + column : 1 + column + side]

    width, height = across.abs(), down.abs()
    level = (magnitude > neighbour(0, -1)) & (magnitude >= neighbour(0, 1))
    upright = (magnitude > neighbour(-1, 0)) & (magnitude >= neighbour(1, 0))
    falling = (magnitude > neighbour(-1, -1)) & (magnitude > neighbour(1, 1))
    rising = (magnitude > neighbour(-1, 1)) & (magnitude > neighbour(1, -1))
    slanted = torch.where((across < 0) ^ (down < 0), rising, falling)
    steep = torch.where(height > width * _TAN_67_5, upright, slanted)
    return torch.where(height < width * _TAN_22_5, level, steep)


def _grow(edges: Tensor, candidates: Tensor) -> Tensor:
    """Add candidates that touch an edge until none does."""
    while True:
        near = F.max_pool2d(edges[:, None].float(), 3, stride=1, padding=1)[:, 0] > 0
        grown = near & candidates
        if torch.equal(grown, edges):
            return edges
        edges = grown
