"""Noise: Gaussian, shot (Poisson), impulse (salt and pepper) and speckle."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from tta.corruptions.pixels import truncate
from tta.corruptions.random import ImageRandom

_DRAWS = 1 << 16


def gaussian_noise(images: Tensor, scale: float, random: ImageRandom) -> Tensor:
    """Add normal noise of standard deviation ``scale`` (image in [0, 1])."""
    return truncate(random.normal(*images.shape[1:]).mul_(255 * scale).add_(images))


def speckle_noise(images: Tensor, scale: float, random: ImageRandom) -> Tensor:
    """Add normal noise whose deviation is ``scale`` times the pixel's value."""
    return truncate(random.normal(*images.shape[1:]).mul_(scale).mul_(images).add_(images))


def impulse_noise(images: Tensor, amount: float, random: ImageRandom) -> Tensor:
    """Set a fraction ``amount`` of all values to 0 or 255 with equal chances."""
    draws = random.uniform(*images.shape[1:])
    salted = images.masked_fill(draws < amount, 255)
    return salted.masked_fill_(draws < amount / 2, 0)


def shot_noise(images: Tensor, photons: float, random: ImageRandom) -> Tensor:
    """Replace each value by a Poisson count whose mean is ``photons`` at white."""
    draws = random.bits16(*images.shape[1:])
    table = poisson_levels(photons, images.device)
    entries = draws.add_(images.int().mul_(_DRAWS))
    return table.index_select(0, entries.flatten()).view(images.shape)


@lru_cache(maxsize=4)
def poisson_levels(photons: float, device: torch.device) -> Tensor:
    """Return uint8 [256 * 2^16]: the level of a Poisson count by (grey level, 16-bit draw).

    Row x is the inverse distribution function of the rate ``photons * x / 255`` at the mid-points
    of 2^16 equal steps, so mean and variance are exact to about 2^-16.
    """
    counts = torch.arange(int(photons + 10 * photons**0.5 + 20), dtype=torch.float64)
    rates = torch.arange(256, dtype=torch.float64)[:, None] * photons / 255
    chances = torch.exp(torch.xlogy(counts, rates) - rates - torch.lgamma(counts + 1))
    # Draws up to ``ends[x, k]`` fall on a count of at most k.
    ends = torch.floor(chances.cumsum(1) * _DRAWS + 0.5).long()
    ends[:, -1] = _DRAWS
    repeats = ends.diff(dim=1, prepend=torch.zeros(256, 1, dtype=torch.int64))
    levels = truncate(counts / photons * 255 + 1e-9).repeat(256)
    return levels.repeat_interleave(repeats.flatten()).to(device)
