"""Degraded views that keep an image's geometry: SPA (Niu et al., ICML 2025).

Both work around mid-grey, 0.5, which is zero for the ViT that the constants are published for.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tta.ops.generators import generator_on
from tta.ops.layout import memory_format_of

BAND = 0.2
"""Share of the spectrum's height and width, about its centre, that counts as low."""


def mask_low_frequencies(images: Tensor, generator: torch.Generator, ratio: float) -> Tensor:
    """Remove low frequencies at random, each with probability ``ratio``.

    Every image and channel has draws of its own; a frequency goes with its mirror image, so that
    the result is real. The mean, frequency 0, is among them. Nothing is clipped.

    Args:
        images: ``[B, 3, H, W]`` in [0, 1], on any device.
        generator: CPU generator.
        ratio: between 0 and 1.
    """
    height, width = images.shape[-2:]
    device = images.device
    spectrum = torch.fft.rfft2(images - 0.5)
    rows = torch.fft.fftfreq(height, 1 / height, device=device).abs() <= int(BAND * height) // 2
    columns = torch.fft.rfftfreq(width, 1 / width, device=device) <= int(BAND * width) // 2
    draws = torch.rand(spectrum.shape, generator=generator_on(device, generator), device=device)
    kept = (draws >= ratio) | ~(rows[:, None] & columns)
    # Of the frequencies without a horizontal part both mirror images are stored.
    kept[..., height // 2 + 1 :, 0] = kept[..., 1 : (height + 1) // 2, 0].flip(-1)
    masked = torch.fft.irfft2(spectrum * kept, s=(height, width)) + 0.5
    return masked.contiguous(memory_format=memory_format_of(images))


def blend_noise(
    images: Tensor, shares: Tensor, generator: torch.Generator, same_for_all: bool = False
) -> Tensor:
    """Return ``(1 - s) * image + s * noise``, clipped to [0, 1], with a share s per patch.

    Gradients flow into ``shares``. Noise is Gaussian about 0.5, with standard deviation 0.5.

    Args:
        images: ``[B, 3, H, W]`` in [0, 1], on any device.
        shares: of noise in each patch, between 0 and 1, ``[rows, columns]`` of patches.
        generator: CPU generator.
        same_for_all: one draw of noise for all images.
    """
    device = images.device
    shape = images.shape[1:] if same_for_all else images.shape
    noise = torch.randn(shape, generator=generator_on(device, generator), device=device)
    share = F.interpolate(shares[None, None], images.shape[-2:])
    blended = images + share * (0.5 + 0.5 * noise - images)
    return blended.clamp(0, 1).contiguous(memory_format=memory_format_of(images))
