"""Spatter: drops of water or mud on the lens.

The water's relief follows the official script's chain of OpenCV calls: Canny edges, a chamfer
distance transform, histogram equalisation and an emboss kernel.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from tta.corruptions.canny import canny
from tta.corruptions.filters import border_indices, gaussian_matrix, resample
from tta.corruptions.pixels import truncate
from tta.corruptions.random import ImageRandom

_WATER = (175.0, 238.0, 238.0)
_MUD = (63.0, 42.0, 20.0)
_EMBOSS = ((-2, -1, 0), (-1, 1, 1), (0, 1, 2))
_FARTHEST = 20.0
_EDGES = (50, 150)
# OpenCV's 5x5 chamfer: cost of a straight, a diagonal and a knight's step.
_STEPS = {(0, 1): 1.0, (1, 1): 1.4, (1, 2): 2.1969}


def spatter(images: Tensor, constants: tuple[float, ...], random: ImageRandom) -> Tensor:
    """Cover the image with drops of smoothed, thresholded noise.

    ``constants``: mean, deviation and smoothing of the noise, the threshold, the drops' opacity
    (water) or softness in pixels (mud), and 0 for water or 1 for mud.
    """
    mean, deviation, smoothing, threshold, finish, mud = constants
    side = images.shape[-1]
    noise = random.normal(side, side).double().mul_(deviation).add_(mean)
    # A grid of 2^-12 keeps the smoothing exact (see ``filters``).
    noise = noise.mul_(4096).round_().div_(4096)
    liquid = resample(noise, gaussian_matrix(side, smoothing))
    drops = liquid.masked_fill(liquid < threshold, 0)
    if mud:
        return _mud(images, drops > threshold, finish)
    return _water(images, drops.mul_(255).clamp_(max=255).floor_().float(), finish)


def _colour(levels: tuple[float, float, float], images: Tensor) -> Tensor:
    return torch.tensor(levels, device=images.device).view(1, 3, 1, 1)


def _mud(images: Tensor, drops: Tensor, softness: float) -> Tensor:
    cover = resample(drops, gaussian_matrix(images.shape[-1], softness)).float()[:, None]
    cover = cover.masked_fill_(cover < 0.8, 0)
    return truncate(images * (1 - cover) + _colour(_MUD, images) * cover)


def _water(images: Tensor, drops: Tensor, opacity: float) -> Tensor:
    """Tint by drop depth times relief; ``drops`` are float32 [B, H, H] whole grey levels."""
    mask = drops.mul_(_relief(drops))[:, None]
    peak = mask.amax((2, 3), keepdim=True)
    mask = mask.div_(peak.clamp(min=1)).mul_(opacity)
    return truncate(mask * _colour(_WATER, images) + images)


def _relief(drops: Tensor) -> Tensor:
    distance = edge_distance(canny(drops, *_EDGES)).clamp(max=_FARTHEST)
    distance = equalise(_window_sum(distance, torch.ones(3, 3)).div_(9).floor_())
    embossed = _window_sum(distance, torch.tensor(_EMBOSS)).clamp_(0, 255)
    return _window_sum(embossed, torch.ones(3, 3)).div_(9).round_()


def _window_sum(levels: Tensor, kernel: Tensor) -> Tensor:
    """Correlate [B, H, H] with a 3x3 kernel, mirrored borders, in a fixed order of sums."""
    side = levels.shape[-1]
    border = border_indices(side, 1, "mirror").to(levels.device)
    padded = levels.index_select(1, border).index_select(2, border)
    total = torch.zeros_like(levels)
    for row, column in kernel.nonzero().tolist():
        window = padded[:, row : row + side, column : column + side]
        total.add_(window * float(kernel[row, column]))
    return total


def edge_distance(edges: Tensor) -> Tensor:
    """Return the 5x5 chamfer distance to the nearest edge of [B, H, H], float32, up to 20."""
    far = 2 * _FARTHEST
    distance = torch.where(edges, 0.0, far)
    side = edges.shape[-1]
    while True:
        padded = F.pad(distance, (2, 2, 2, 2), value=far)
        nearer = distance
        for down, right, cost in _chamfer_steps():
            window = padded[:, 2 + down : 2 + down + side, 2 + right : 2 + right + side]
            nearer = torch.minimum(nearer, window + cost)
        if torch.equal(nearer, distance):
            return distance
        distance = nearer


@lru_cache(maxsize=1)
def _chamfer_steps() -> tuple[tuple[int, int, float], ...]:
    steps = {
        (down * sign_down, right * sign_right, cost)
        for (first, second), cost in _STEPS.items()
        for down, right in ((first, second), (second, first))
        for sign_down in (-1, 1)
        for sign_right in (-1, 1)
    }
    return tuple(sorted(steps))


def equalise(levels: Tensor) -> Tensor:
    """Equalise the histogram of each float32 [B, H, H] of whole grey levels, as OpenCV does."""
    flat = levels.flatten(1).long()
    counts = torch.zeros(len(flat), 256, dtype=torch.int64, device=flat.device)
    counts.scatter_add_(1, flat, torch.ones_like(flat))
    lowest = counts.gather(1, flat.amin(1, keepdim=True))
    spread = (flat.shape[1] - lowest).clamp(min=1)
    table = ((counts.cumsum(1) - lowest) * (255.0 / spread)).round()
    equalised = table.float().gather(1, flat).view_as(levels)
    # A constant image stays as it is.
    return torch.where((lowest == flat.shape[1])[:, :, None], levels, equalised)
