"""Blur with a fixed kernel: defocus and Gaussian."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from tta.corruptions.filters import (
    border_indices,
    correlate,
    gaussian_matrix,
    gaussian_weights,
    resample,
)
from tta.corruptions.pixels import truncate
from tta.corruptions.random import ImageRandom


def defocus_blur(images: Tensor, constants: tuple[float, float], random: ImageRandom) -> Tensor:
    """Correlate with a disk of the given radius, itself smoothed by a small Gaussian."""
    return correlate(images, disk_kernel(*constants))


@lru_cache(maxsize=32)
def disk_kernel(radius: float, smoothing: float) -> Tensor:
    """Return the anti-aliased disk, float64 [K, K] with K odd, cut to its support.

    The grid is at least 17 wide and its borders are mirrored while smoothing. For radii 8 and 10,
    which touch the border, the sum exceeds one by about 1 %, as in the official script.
    """
    reach = max(8, math.ceil(radius))
    offsets = torch.arange(-reach, reach + 1, dtype=torch.float64)
    disk = (offsets[:, None] ** 2 + offsets**2 <= radius**2).double()
    disk /= disk.sum()
    taps = 1 if radius <= 8 else 2
    border = border_indices(2 * reach + 1, taps, "mirror")
    smooth = gaussian_weights(smoothing, taps)
    for dim in (0, 1):
        disk = disk.index_select(dim, border).unfold(dim, 2 * taps + 1, 1) @ smooth
    support = int((disk[reach] > 1e-9 * disk.max()).sum()) // 2
    return disk[reach - support : reach + support + 1, reach - support : reach + support + 1]


def gaussian_blur(images: Tensor, sigma: float, random: ImageRandom) -> Tensor:
    """Filter with a Gaussian of ``sigma`` pixels."""
    return smooth(images, sigma)


def smooth(images: Tensor, sigma: float) -> Tensor:
    """Filter uint8 images with a Gaussian cut at four sigmas, nearest border, truncated."""
    return resample(images, gaussian_matrix(images.shape[-1], sigma), truncate)
