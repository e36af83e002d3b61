"""Linear filters whose sums are exact, hence equal in any order, batch and on any device.

Weights are rounded to multiples of 2^-18 (2^-22) without changing their sum, pixels are integers,
and sums are kept in a type that holds every partial sum without rounding. A normalised filter
therefore leaves a constant image constant, and the truncation to uint8 that follows can't depend on
the order of summation.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from tta.corruptions.pixels import truncate

_MATRIX_BITS = 18
_BAND = 32
_KERNEL_BITS = 22
# Means over 9 pixels are often whole levels: rounded weights must not push them below.
_TIE = 1 << (_KERNEL_BITS - 10)


def fixed_point(weights: Tensor, bits: int) -> Tensor:
    """Round float64 ``weights`` to int64 multiples of 2^-bits, keeping the last dimension's sum.

    The largest weight of a row takes up what rounding left over.
    """
    scaled = (weights * (1 << bits)).round()
    rest = (weights.sum(-1, keepdim=True) * (1 << bits)).round() - scaled.sum(-1, keepdim=True)
    return scaled.scatter_add(-1, scaled.argmax(-1, keepdim=True), rest).long()


def resampling_matrix(weights: Tensor) -> Tensor:
    """Return float64 ``weights`` [out, in] in fixed point, for ``resample``."""
    return fixed_point(weights, _MATRIX_BITS).double() / (1 << _MATRIX_BITS)


def resample(
    levels: Tensor, matrix: Tensor, finish: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """Apply ``matrix`` [out, in] to rows and columns of [..., in, in], in float64.

    Exact for bytes, for 16-bit whole numbers and for |levels| < 1 in multiples of 2^-16: a narrow
    filter may leave out the zeros of its matrix, and its sums stay the same.

    Args:
        levels: any type.
        matrix: float64, of :func:`resampling_matrix`.
        finish: is applied to every value; in the cache, where planes are filtered one by one.
    """
    finish = finish or _unchanged
    matrix = matrix.to(levels.device)
    bands = _bands(matrix) if levels.device.type == "cpu" else []
    if not bands:
        return finish(matrix @ levels.double() @ matrix.T)
    planes = [finish(_filter(plane.double(), bands)) for plane in levels.flatten(0, -3)]
    return torch.stack(planes).view(*levels.shape[:-2], *planes[0].shape)


def _unchanged(levels: Tensor) -> Tensor:
    return levels


def _filter(plane: Tensor, bands: list[tuple[slice, slice, Tensor]]) -> Tensor:
    side = bands[-1][0].stop
    half, made = plane.new_empty(side, plane.shape[1]), plane.new_empty(side, side)
    for rows, columns, weights in bands:
        torch.mm(weights, plane[columns], out=half[rows])
    for rows, columns, weights in bands:
        torch.mm(half[:, columns], weights.T, out=made[:, rows])
    return made


def _bands(matrix: Tensor) -> list[tuple[slice, slice, Tensor]]:
    """Return (rows, columns, block) that hold all but zeros; none where that spares too little."""
    bands, cells = [], 0
    for start in range(0, len(matrix), _BAND):
        rows = slice(start, min(start + _BAND, len(matrix)))
        used = matrix[rows].any(0).nonzero()
        columns = slice(int(used[0]), int(used[-1]) + 1)
        bands.append((rows, columns, matrix[rows, columns].contiguous()))
        cells += bands[-1][2].numel()
    return bands if cells <= matrix.numel() / 2 else []


def border_indices(side: int, pad: int, mode: str) -> Tensor:
    """Return the source index of each of ``side + 2 pad`` positions.

    ``mode`` is "nearest" (aa|abc|cc), "reflect" (ba|abc|cb, scipy's) or "mirror" (cb|abc|ba,
    OpenCV's default border).
    """
    positions = torch.arange(-pad, side + pad)
    if mode == "nearest":
        return positions.clamp(0, side - 1)
    period = 2 * side if mode == "reflect" else 2 * side - 2
    positions = positions % period
    return torch.minimum(positions, period - positions - (1 if mode == "reflect" else 0))


def gaussian_weights(sigma: float, radius: int) -> Tensor:
    """Return the normalised Gaussian window, float64 [2 radius + 1]."""
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (offsets / sigma) ** 2)
    return weights / weights.sum()


@lru_cache(maxsize=64)
def gaussian_matrix(
    side: int, sigma: float, mode: str = "nearest", truncate: float = 4.0
) -> Tensor:
    """Return a Gaussian filter cut at ``truncate`` sigmas for ``resample``: [side, side]."""
    radius = int(truncate * sigma + 0.5)
    window = gaussian_weights(sigma, radius).repeat(side, 1)
    sources = border_indices(side, radius, mode).unfold(0, 2 * radius + 1, 1)
    weights = torch.zeros(side, side, dtype=torch.float64).scatter_add_(1, sources, window)
    return resampling_matrix(weights)


def correlate(images: Tensor, kernel: Tensor) -> Tensor:
    """Correlate uint8 [B, C, H, H] with a symmetric float64 kernel [K, K], K odd, mirrored borders.

    Where most neighbours in a row of the kernel are equal, as in a large disk, differences of the
    kernel meet running sums of the image instead: fewer terms. int32 may overflow on the way;
    it wraps, so that the total, below 2^31, is exact all the same.

    Returns:
        Grey levels rounded down, uint8 [B, C, H, H].
    """
    side, reach = images.shape[-1], kernel.shape[-1] // 2
    weights = (kernel * (1 << _KERNEL_BITS)).round().long()
    # What rounding left over goes to the centre, so that the kernel stays symmetric.
    weights[reach, reach] += round(float(kernel.sum()) * (1 << _KERNEL_BITS)) - weights.sum()
    border = border_indices(side, reach, "mirror").to(images.device)
    padded = images.index_select(2, border).index_select(3, border).int()
    edge = torch.zeros(len(weights), 1, dtype=torch.int64)
    differences = torch.cat([edge, weights], 1) - torch.cat([weights, edge], 1)
    if differences.count_nonzero() < weights.count_nonzero():
        padded = F.pad(padded.cumsum(3, dtype=torch.int32), (1, 0))
        weights = differences
    total = torch.zeros_like(images, dtype=torch.int32)
    for row in range(reach + 1):
        below = padded[:, :, 2 * reach - row : 2 * reach - row + side]
        lines = padded[:, :, row : row + side]
        lines = lines if row == reach else lines + below
        for column in weights[row].nonzero().flatten().tolist():
            total.add_(lines[..., column : column + side], alpha=int(weights[row, column]))
    return truncate(total.add_(_TIE) >> _KERNEL_BITS)
