"""Motion blur along a random direction, as ImageMagick makes it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tta.corruptions.filters import fixed_point
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
    taps = 2 * radius + 1
    steps = torch.arange(taps, dtype=torch.float64)
    profile = torch.exp(-0.5 * (steps / sigma) ** 2)
    weights = fixed_point(profile / profile.sum(), _BITS).tolist()
    padded = _padded(images, taps)
    total = torch.full(images.shape, _HALF_QUANTUM, dtype=torch.int32, device=images.device)
    strides = padded.stride()[1:]
    for index, (image, angle) in enumerate(zip(total, angles.tolist(), strict=True)):
        cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        for step, weight in enumerate(weights):
            if not weight:  # too small for its place
                continue
            row = taps + math.ceil(step * sine - 0.5)
            column = taps + math.ceil(step * cosine - 0.5)
            start = index * padded.stride(0) + row * strides[1] + column
            window = padded.as_strided(images.shape[1:], strides, start)
            image.add_(window, alpha=weight)
    return total.bitwise_right_shift_(_BITS).to(torch.uint8)


def _padded(images: Tensor, pad: int) -> Tensor:
    """Return int32 images with ``pad`` more pixels on each side, each the nearest within."""
    side = images.shape[-1]
    wide = images.new_empty(*images.shape[:2], side + 2 * pad, side + 2 * pad, dtype=torch.int32)
    inner, last = wide[:, :, pad : pad + side], pad + side
    inner[..., pad:last] = images
    inner[..., :pad] = inner[..., pad : pad + 1]
    inner[..., last:] = inner[..., last - 1 : last]
    wide[:, :, :pad] = wide[:, :, pad : pad + 1]
    wide[:, :, last:] = wide[:, :, last - 1 : last]
    return wide
