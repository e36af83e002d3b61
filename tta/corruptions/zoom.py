"""Linear zoom into the centre of an image, and the blur made of it."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from tta.corruptions.pixels import truncate
from tta.corruptions.random import ImageRandom
from tta.foundation.muted import mute

_BITS = 40


def zoom_blur(images: Tensor, constants: tuple[float, float], random: ImageRandom) -> Tensor:
    """Average the image with its central crops zoomed by 1, 1 + step, ... up to an end."""
    operator = _zoom_operator(images.shape[-1], *constants, images.device)
    columns = images.flatten(2).flatten(0, 1).double().T.contiguous()
    # Weights were rounded: what should be a whole level must not fall below it.
    return truncate((operator @ columns).add_(2.0**-20).T).reshape(images.shape)


@lru_cache(maxsize=4)
def _zoom_operator(side: int, end: float, step: float, device: torch.device) -> Tensor:
    """Return the whole average as one sparse float64 matrix [H * H, H * H].

    Weights are multiples of 2^-40, so sums over bytes are exact in any order (see ``filters``).
    """
    # numpy's rounding decides how many factors there are and where a zoomed crop is cut.
    factors = np.arange(1, end, step).tolist()
    target = torch.arange(side * side)
    entries = [(target, target, torch.ones(side * side, dtype=torch.float64))]
    for factor in factors:
        entries += _zoom_entries(side, factor)
    rows, columns, weights = (torch.cat(part) for part in zip(*entries, strict=True))
    weights = (weights * (2**_BITS / (len(factors) + 1))).round() * 2.0**-_BITS
    shape = (side * side, side * side)
    mute("Sparse CSR tensor support")
    mute("Sparse invariant checks are implicitly disabled")  # they are asked for
    indices = torch.stack([rows, columns])
    matrix = torch.sparse_coo_tensor(indices, weights, shape, check_invariants=True)
    return matrix.coalesce().to_sparse_csr().to(device)


def _zoom_entries(side: int, factor: float) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return (target, source, weight) of each pixel's four neighbours in the zoomed crop."""
    first, fraction = _sources(side, factor)
    target = torch.arange(side * side)
    lines = ((first, 1 - fraction), (first + 1, fraction))
    return [
        (target, (row[:, None] * side + column).flatten(), (above[:, None] * before).flatten())
        for row, above in lines
        for column, before in lines
    ]


def zoom_centre(levels: Tensor, factor: float) -> Tensor:
    """Zoom float32 [..., H, H] linearly by ``factor`` about the centre, same shape.

    The crop is rounded up and scaled corner to corner; what sticks out is trimmed.
    """
    first, fraction = _sources(levels.shape[-1], factor)
    first, fraction = first.to(levels.device), fraction.to(levels)
    return _interpolate(_interpolate(levels, first, fraction, -2), first, fraction, -1)


def _interpolate(levels: Tensor, first: Tensor, fraction: Tensor, dim: int) -> Tensor:
    weight = fraction[:, None] if dim == -2 else fraction
    lower = levels.index_select(dim, first)
    return levels.index_select(dim, first + 1).sub_(lower).mul_(weight).add_(lower)


def _sources(side: int, factor: float) -> tuple[Tensor, Tensor]:
    """Return the lower of the two source rows of each row, and the weight of the upper."""
    crop = math.ceil(side / factor)
    scaled = round(crop * factor)
    positions = torch.arange(side, dtype=torch.float64) + (scaled - side) // 2
    sources = (positions * (crop - 1) / (scaled - 1)).clamp(max=crop - 1)
    lower = sources.floor().clamp(max=crop - 2)
    first = lower.long() + (side - crop) // 2
    return first, sources - lower
