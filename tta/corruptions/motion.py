"""Motion blur along a random direction, as ImageMagick makes it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tta.corruptions.filters import border_indices, fixed_point
from tta.corruptions.random import ImageRandom

_BITS = 22
_HALF_QUANTUM = (1 << _BITS) // (2 * 257)


def motion_blur(images: Tensor, constants: tuple[int, float], random: ImageRandom) -> Tensor:
    """Blur along an angle drawn from -45 to 45 degrees; ``constants`` are (radius, sigma)."""
    angles = random.uniform(low=-45.0, high=45.0)
    return blur_along(images, *constants, angles)


def blur_along(images: Tensor, radius: int, sigma: float, angles: Tensor) -> Tensor:
    """Average pixels along a one-sided line with weights that fall off as a half Gaussian.

    The line has 2 radius + 1 taps, each at the nearest pixel; beyond the border the nearest pixel
    counts. Sums are exact (see ``filters``), rounded to 1/257 level and then down, as ImageMagick's
    16-bit arithmetic does.

    Args:
        images: uint8 [B, C, H, H].
        radius: half the number of taps, in pixels.
        sigma: deviation of the Gaussian in pixels.
        angles: float64 [B], degrees.
    """
    side, taps = images.shape[-1], 2 * radius + 1
    steps = torch.arange(taps, dtype=torch.float64)
    profile = torch.exp(-0.5 * (steps / sigma) ** 2)
    weights = fixed_point(profile / profile.sum(), _BITS).tolist()
    border = border_indices(side, taps, "nearest").to(images.device)
    padded = images.index_select(2, border).index_select(3, border).int()
    total = torch.zeros_like(images, dtype=torch.int32)
    strides = padded.stride()[1:]
    for index, (image, angle) in enumerate(zip(total, angles.tolist(), strict=True)):
        cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        for step, weight in enumerate(weights):
            row = taps + math.ceil(step * sine - 0.5)
            column = taps + math.ceil(step * cosine - 0.5)
            start = index * padded.stride(0) + row * strides[1] + column
            window = padded.as_strided(images.shape[1:], strides, start)
            image.add_(window, alpha=weight)
    return (total.add_(_HALF_QUANTUM) >> _BITS).to(torch.uint8)
