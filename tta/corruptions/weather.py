"""Weather: snow, frost and fog."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from tta.corruptions.frost_textures import crop_textures
from tta.corruptions.motion import blur_along
from tta.corruptions.pixels import truncate
from tta.corruptions.plasma import plasma_fractal
from tta.corruptions.random import ImageRandom
from tta.corruptions.zoom import zoom_centre

_LUMA = (0.299, 0.587, 0.114)


def luma(images: Tensor) -> Tensor:
    """Return the float32 grey image [B, 1, H, W] of uint8 [B, 3, H, W], in grey levels."""
    red, green, blue = (images[:, i : i + 1].float().mul_(weight) for i, weight in enumerate(_LUMA))
    return red.add_(green).add_(blue)


def snow(images: Tensor, constants: tuple[float, ...], random: ImageRandom) -> Tensor:
    """Whiten the image and add streaks of thresholded, zoomed and motion-blurred noise.

    ``constants``: mean and deviation of the noise, its zoom, the threshold, radius and sigma of the
    motion blur, and the weight of the image against its whitened version.
    """
    mean, deviation, zoom, threshold, radius, sigma, weight = constants
    flakes = random.normal(1, *images.shape[2:]).mul_(deviation).add_(mean)
    flakes = zoom_centre(flakes, zoom)
    flakes = truncate(flakes.masked_fill_(flakes < threshold, 0).mul_(255))
    angles = random.uniform(low=-135.0, high=-45.0)
    streaks = blur_along(flakes, int(radius), sigma, angles).int()
    streaks = streaks + streaks.rot90(2, (2, 3))
    levels = images.float()
    white = torch.maximum(levels, luma(images).mul_(1.5).add_(127.5))
    return truncate(white.mul_(1 - weight).add_(levels.mul_(weight)).add_(streaks))


def frost(
    images: Tensor,
    constants: tuple[float, float, int],
    random: ImageRandom,
    textures: str | Path | None = None,
) -> Tensor:
    """Overlay a random crop of a frost picture.

    ``constants``: weight of the image, weight of the picture, stride at which it is read.
    """
    weight, frost_weight, stride = constants
    crops = crop_textures(images, textures, stride, random)
    return truncate(images.float().mul_(weight).add_(crops.mul_(frost_weight)))


def fog(images: Tensor, constants: tuple[float, float], random: ImageRandom) -> Tensor:
    """Add a plasma fractal and rescale to the image's own maximum; (strength, decay)."""
    strength, decay = constants
    side = images.shape[-1]
    haze = plasma_fractal(1 << (side - 1).bit_length(), decay, random)[:, None, :side, :side]
    peak = images.amax((1, 2, 3), keepdim=True).float()
    scale = peak / (peak + 255 * strength)
    return truncate(haze.mul(255 * strength).add(images).mul_(scale))
