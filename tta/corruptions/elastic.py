"""Elastic transform: a random affine map, then smooth random displacements."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from tta.corruptions.filters import gaussian_matrix, resample
from tta.corruptions.pixels import truncate
from tta.corruptions.random import ImageRandom

_VALUES_AT_ONCE = 1 << 18
_AFFINE_STEPS = 32  # OpenCV rounds source positions to 1/32 pixel.


def elastic_transform(
    images: Tensor, constants: tuple[float, float, float], random: ImageRandom
) -> Tensor:
    """Warp by an affine map and by a field of displacements, both random.

    ``constants``, in sides of the image: strength of the displacements, deviation of the Gaussian
    that smooths them, and largest shift of the affine map's three anchor points.
    """
    affine, field = _sources(images.shape[-1], constants, random)
    levels = bilinear(images.float(), *affine, "mirror")
    if field is not None:
        levels = bilinear(levels, *field, "reflect")
    return truncate(levels)


def warp_nearest(
    labels: Tensor, constants: tuple[float, float, float], random: ImageRandom
) -> Tensor:
    """Warp label maps [B, H, H] as :func:`elastic_transform` does images, to the nearest pixel.

    ``random`` must draw what it drew for the images.
    """
    side = labels.shape[-1]
    positions, field = _sources(side, constants, random)
    if field is not None:  # the map of the first warp, read where the second one looks
        positions = bilinear(torch.stack(positions, 1), *field, "reflect").unbind(1)
    rows, columns = (_neighbours(part.round(), side, "mirror")[0].long() for part in positions)
    return labels.flatten(1).gather(1, (rows * side + columns).flatten(1)).view_as(labels)


def _sources(
    side: int, constants: tuple[float, float, float], random: ImageRandom
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor] | None]:
    """Return rows and columns [B, H, H] that the affine map reads, and those that the field reads.

    The field is None where it has no strength.
    """
    strength, smoothing, jitter = (constant * side for constant in constants)
    affine = _affine_sources(side, jitter, random)
    if not strength:
        return affine, None
    smoother = gaussian_matrix(side, smoothing, "reflect", truncate=3.0)
    shifts = resample(random.bits16(2, side, side), smoother, partial(_shifts, strength))
    grid = torch.arange(side, dtype=torch.float32, device=shifts.device)
    return affine, (shifts[:, 1] + grid[:, None], shifts[:, 0] + grid)


def _shifts(strength: float, bits: Tensor) -> Tensor:
    """Map the mid-points of 2^16 steps to -strength .. strength, float32; exactly up to there."""
    return bits.mul_(2.0**-15).add_(2.0**-16 - 1).mul_(strength).float()


def _affine_sources(side: int, jitter: float, random: ImageRandom) -> tuple[Tensor, Tensor]:
    """Return source rows and columns [B, H, H] of the map that moves three anchors at random.

    The anchors are (c + s, c + s), (c + s, c - s) and (c - s, c - s) with c = H // 2, s = H // 3.
    """
    centre, reach = side // 2, side // 3
    anchors = torch.tensor([[1, 1], [1, -1], [-1, -1]], device=random.device) * reach + centre
    moved = random.uniform(3, 2, low=-jitter, high=jitter) + anchors
    first, second = moved[:, 0] - moved[:, 1], moved[:, 1] - moved[:, 2]
    grid = torch.arange(side, dtype=torch.float64, device=random.device)
    across = grid - moved[:, 2, 0, None]
    down = grid - moved[:, 2, 1, None]
    scale = 2 * reach / (first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0])

    def sources(edge: Tensor, sign: int) -> Tensor:
        slopes = edge * (sign * scale)[:, None]
        lines = down[:, :, None] * slopes[:, 0, None, None]
        offsets = across[:, None, :] * slopes[:, 1, None, None]
        positions = (lines - offsets).add_(centre - reach)
        return positions.mul_(_AFFINE_STEPS).round_().mul_(1 / _AFFINE_STEPS).float()

    return sources(second, -1), sources(first, 1)


def bilinear(levels: Tensor, rows: Tensor, columns: Tensor, mode: str) -> Tensor:
    """Sample float32 [B, C, H, H] at float32 positions [B, H, H], bilinearly.

    A few images at a time, so that what is made on the way stays in the cache.

    ``mode`` says how positions outside are folded back: "mirror" about the centre of the border
    pixel (OpenCV's default), "reflect" about its outer edge (scipy's).
    """
    count = max(1, _VALUES_AT_ONCE // levels[0].numel())
    parts = (part.split(count) for part in (levels, rows, columns))
    return torch.cat([_bilinear(*part, mode) for part in zip(*parts, strict=True)])


def _bilinear(levels: Tensor, rows: Tensor, columns: Tensor, mode: str) -> Tensor:
    batch, side = len(levels), levels.shape[-1]
    top, left = rows.floor(), columns.floor()
    down, right = (rows - top).flatten(), (columns - left).flatten()
    image = torch.arange(batch, device=levels.device).mul_(side**2).view(-1, 1, 1)
    above, below = (line.mul_(side).add_(image) for line in _neighbours(top, side, mode))
    before, after = _neighbours(left, side, mode)
    planes = levels.transpose(0, 1).flatten(1)

    def sample(line: Tensor, position: Tensor) -> Tensor:
        index = (line + position).flatten().int()
        made = torch.empty_like(planes)
        for plane, target in zip(planes, made, strict=True):
            torch.index_select(plane, 0, index, out=target)
        return made

    def between(line: Tensor) -> Tensor:
        start = sample(line, before)
        return sample(line, after).sub_(start).mul_(right).add_(start)

    upper = between(above)
    made = between(below).sub_(upper).mul_(down).add_(upper)
    return made.view(-1, batch, side, side).transpose(0, 1)


def _neighbours(positions: Tensor, side: int, mode: str) -> tuple[Tensor, Tensor]:
    """Fold whole float32 positions of any size, and those after them, into 0 .. side - 1."""
    edge = 1 if mode == "reflect" else 0
    period = 2 * (side - 1 + edge)
    lowest, highest = positions.aminmax()
    after = positions + 1
    if lowest < -period or highest >= period - edge:
        positions, after = _wrapped(positions, period), _wrapped(after, period)
    return _fold(positions, period, edge), _fold(after, period, edge)


def _wrapped(positions: Tensor, period: int) -> Tensor:
    return positions - torch.floor(positions / period).mul_(period)


def _fold(positions: Tensor, period: int, edge: int) -> Tensor:
    positions = torch.maximum(positions, -edge - positions)
    return torch.minimum(positions, period - edge - positions)
