"""Degraded views that keep an image's geometry: SPA (Niu et al., ICML 2025).

Both degrade what the network is shown: zero is the mean that it subtracts, and one unit the
standard deviation that it divides by. The published code clips at one unit either way, which is
[0, 1] for a network that is normalised by 0.5 and 0.5, and about half of it for ImageNet's values.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tta.ops.generators import generator_on
from tta.ops.views.layout import memory_format_of

BAND = 0.2
"""Share of the spectrum's height and width, about its centre, that counts as low."""


def mask_low_frequencies(
    images: Tensor, generator: torch.Generator, ratio: float, mean: Tensor
) -> Tensor:
    """Remove low frequencies at random, each with probability ``ratio``.

    Every image and channel has draws of its own; a frequency goes with its mirror image, so that
    the result is real. Frequency 0 is among them. Nothing is clipped.

    Args:
        images: ``[B, 3, H, W]`` in [0, 1], on any device.
        generator: CPU generator.
        ratio: between 0 and 1.
        mean: what the network subtracts, ``[1, 3, 1, 1]``.
    """
    height, width = images.shape[-2:]
    device = images.device
    spectrum = torch.fft.rfft2(images - mean)
    rows = torch.fft.fftfreq(height, 1 / height, device=device).abs() <= int(BAND * height) // 2
    columns = torch.fft.rfftfreq(width, 1 / width, device=device) <= int(BAND * width) // 2
    draws = torch.rand(spectrum.shape, generator=generator_on(device, generator), device=device)
    kept = (draws >= ratio) | ~(rows[:, None] & columns)
    # Of the frequencies without a horizontal part both mirror images are stored.
    kept[..., height // 2 + 1 :, 0] = kept[..., 1 : (height + 1) // 2, 0].flip(-1)
    masked = torch.fft.irfft2(spectrum * kept, s=(height, width)) + mean
    return masked.contiguous(memory_format=memory_format_of(images))


def blend_noise(
    images: Tensor,
    shares: Tensor,
    generator: torch.Generator,
    mean: Tensor,
    std: Tensor,
    same_for_all: bool = False,
) -> Tensor:
    """Return ``(1 - s) * image + s * noise``, clipped to ``mean`` ± ``std``, a share s per patch.

    Gradients flow into ``shares``. Noise is Gaussian with that mean and standard deviation.

    Args:
        images: ``[B, 3, H, W]`` in [0, 1], on any device.
        shares: of noise in each patch, between 0 and 1, ``[rows, columns]`` of patches.
        generator: CPU generator.
        mean: what the network subtracts, ``[1, 3, 1, 1]``.
        std: what it divides by, ``[1, 3, 1, 1]``.
        same_for_all: one draw of noise for all images.
    """
    device = images.device
    shape = images.shape[1:] if same_for_all else images.shape
    noise = torch.randn(shape, generator=generator_on(device, generator), device=device)
    share = F.interpolate(shares[None, None], images.shape[-2:])
    blended = images + share * (mean + std * noise - images)
    clipped = blended.clamp(mean - std, mean + std)
    return clipped.contiguous(memory_format=memory_format_of(images))
