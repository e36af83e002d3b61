"""Test-time augmentation of CoTTA, RMT, RoTTA and SANTA, its ROID/CMF variant, DeYO's patches."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tta.foundation.from_host import from_host
from tta.ops.generators import generator_on
from tta.ops.views.hue import adjust_hue
from tta.ops.views.layout import memory_format_of

Range = tuple[float, float]

_BLUR_RADIUS = 2


_JITTER = ("brightness", "contrast", "saturation", "hue", "gamma")


@dataclass(frozen=True)
class AugmentDraw:
    """One draw of the augmentation, shared by a whole batch.

    Attributes:
        jitter: colour operations (name, factor) in the order in which they are applied.
        angle: clockwise rotation in degrees.
        translation: shift (right, down) in whole pixels.
        scale: magnification.
        flip: whether to mirror left and right.
        blur_sigma: standard deviation of the 5-tap Gaussian in pixels; None for no blur.
    """

    jitter: tuple[tuple[str, float], ...]
    angle: float
    translation: tuple[int, int]
    scale: float
    flip: bool
    blur_sigma: float | None


@dataclass(frozen=True)
class CottaAugment:
    """Colour jitter, affine map, blur, flip and noise, one draw per batch.

    Wang et al., "Continual Test-Time Domain Adaptation", CVPR 2022, as published. The image is
    continued by ``padding`` without end; the published transform stops at half an image, which
    is out of sight for images of 22 pixels and more.

    Attributes:
        brightness, contrast, saturation, gamma: ranges of the factors.
        hue: range of the shift, in turns of the colour circle.
        degrees: largest rotation to either side.
        translate: largest shift as a share of the padded image, which is twice as wide.
        scale: range of the magnification.
        blur_sigma: range of the blur's standard deviation in pixels; None for no blur.
        noise_std: standard deviation of the Gaussian noise; 0 for none.
        padding: "edge" repeats the border pixel, "reflect" mirrors about it.
        flips: whether half of the views are mirrored left and right.
    """

    brightness: Range = (0.6, 1.4)
    contrast: Range = (0.7, 1.3)
    saturation: Range = (0.5, 1.5)
    hue: Range = (-0.06, 0.06)
    gamma: Range = (0.7, 1.3)
    degrees: float = 15.0
    translate: float = 1 / 16
    scale: Range = (0.9, 1.1)
    blur_sigma: Range | None = (0.001, 0.5)
    noise_std: float = 0.005
    padding: Literal["edge", "reflect"] = "edge"
    flips: bool = True

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Augment a batch with one draw.

        Args:
            images: ``[B, 3, H, W]`` float in [0, 1], on any device.
            generator: CPU generator. Noise for another device comes from a generator there,
                seeded from this one, so the host never waits for the device.

        Returns:
            New images of the same shape, range and memory format.
        """
        height, width = images.shape[-2:]
        output = self.transform(images, self.draw(generator, height, width))
        if self.noise_std > 0:
            noise = torch.randn(
                images.shape,
                generator=generator_on(images.device, generator),
                device=images.device,
                dtype=images.dtype,
            )
            output = output.add_(noise, alpha=self.noise_std)
        return output.clamp_(0, 1).contiguous(memory_format=memory_format_of(images))

    def draw(self, generator: torch.Generator, height: int, width: int) -> AugmentDraw:
        """Draw the parameters for images of ``height`` x ``width`` pixels on the host."""
        order = torch.randperm(len(_JITTER), generator=generator).tolist()
        names = [_JITTER[number] for number in order]
        count = len(names) + (5 if self.blur_sigma is None else 6)
        drawn = iter(torch.rand(count, generator=generator, dtype=torch.float64).tolist())
        translation = tuple(
            round(_between(next(drawn), (-limit, limit)))
            for limit in (self.translate * (side + 2 * (side // 2)) for side in (width, height))
        )
        return AugmentDraw(
            jitter=tuple((name, _between(next(drawn), getattr(self, name))) for name in names),
            angle=_between(next(drawn), (-self.degrees, self.degrees)),
            translation=translation,
            scale=_between(next(drawn), self.scale),
            flip=next(drawn) < 0.5 and self.flips,
            blur_sigma=None if self.blur_sigma is None else _between(next(drawn), self.blur_sigma),
        )

    def transform(self, images: Tensor, drawn: AugmentDraw) -> Tensor:
        """Apply everything but the noise to ``[B, 3, H, W]`` images in [0, 1]."""
        images = images.clamp(0, 1)
        for name, factor in drawn.jitter:
            images = _jitter(images, name, factor)
        # The blur is symmetric, so the flip may come before it, inside the affine map; and it
        # sees two pixels beyond the crop.
        halo = 0 if drawn.blur_sigma is None else _BLUR_RADIUS
        grid = _affine_grid(images, drawn, halo).expand(len(images), -1, -1, -1)
        mode = "border" if self.padding == "edge" else "reflection"
        images = F.grid_sample(images, grid, padding_mode=mode, align_corners=True)
        return images if drawn.blur_sigma is None else _blur(images, drawn.blur_sigma)


ROID_AUGMENT = CottaAugment(blur_sigma=None, noise_std=0.0, padding="reflect")
"""The variant of ROID (Marsden et al., WACV 2024) and CMF (Lee and Chang, ICLR 2024)."""
PHOTOMETRIC = CottaAugment(degrees=0.0, translate=0.0, scale=(1.0, 1.0), flips=False)
"""Colours, blur and noise alone: every pixel stays where it is."""
ROID_PHOTOMETRIC = dataclasses.replace(PHOTOMETRIC, blur_sigma=None, noise_std=0.0)


def _jitter(images: Tensor, name: str, factor: float) -> Tensor:
    from torchvision.transforms.v2 import functional  # takes long to import

    if name == "hue":
        return adjust_hue(images, factor)
    if name == "gamma":
        images = images.clamp(min=1e-8)
    return getattr(functional, f"adjust_{name}")(images, factor)


def shuffle_patches(images: Tensor, generator: torch.Generator, grid: int = 4) -> Tensor:
    """Cut every image into ``grid`` x ``grid`` patches and put them back in a random order.

    DeYO (Lee et al., ICLR 2024): objects are destroyed, local texture stays. Each image has an
    order of its own. Where ``grid`` does not divide a side, the image is resized to the next
    smaller multiple and back.

    Args:
        images: ``[B, 3, H, W]``, on any device.
        generator: CPU generator.
        grid: patches per side.
    """
    batch, channels, height, width = images.shape
    h, w = height // grid, width // grid
    fitted = _resize(images, (h * grid, w * grid))
    patches = fitted.reshape(batch, channels, grid, h, grid, w).permute(0, 2, 4, 1, 3, 5)
    patches = patches.reshape(batch, grid * grid, channels, h, w)
    device = images.device
    draw = torch.rand(
        patches.shape[:2], generator=generator_on(device, generator), device=device
    ).argsort(1)
    shuffled = patches[torch.arange(batch, device=device)[:, None], draw]
    shuffled = shuffled.view(batch, grid, grid, channels, h, w).permute(0, 3, 1, 4, 2, 5)
    shuffled = _resize(shuffled.reshape(batch, channels, h * grid, w * grid), (height, width))
    return shuffled.contiguous(memory_format=memory_format_of(images))


def _resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    if images.shape[-2:] == size:
        return images
    return F.interpolate(images, size, mode="bilinear", antialias=True)


def _between(share: float, bounds: Range) -> float:
    low, high = bounds
    return low + (high - low) * share


def _affine_grid(images: Tensor, drawn: AugmentDraw, halo: int) -> Tensor:
    """Sampling points [1, H + 2 halo, W + 2 halo, 2].

    The host computes what a column and what a row adds, and sends that; nothing waits.
    """
    height, width = images.shape[-2:]
    number = np.float64 if images.dtype is torch.float64 else np.float32
    x, y = (
        np.arange(-halo, side + halo, dtype=number) - number((side - 1) / 2)
        for side in (width, height)
    )
    x = (-x if drawn.flip else x) - drawn.translation[0]
    y = y - drawn.translation[1]
    cos, sin = (number(f(math.radians(drawn.angle)) / drawn.scale) for f in (math.cos, math.sin))
    # The image's outermost pixel centres lie at -1 and 1 (align_corners): border pixels then
    # repeat, or mirror without repetition, exactly as edge and reflect padding do.
    unit = np.array([[2 / max(1, width - 1), 2 / max(1, height - 1)]], number)
    pairs = np.stack([cos * x, -sin * x], 1), np.stack([sin * y, cos * y], 1), unit
    sent = from_host(torch.from_numpy(np.concatenate(pairs)), images.device).to(images.dtype)
    columns, rows, unit = sent.split([len(x), len(y), 1])
    return (columns + rows[:, None]).mul_(unit)[None]


def _blur(images: Tensor, sigma: float) -> Tensor:
    """Separable 5-tap Gaussian; the output is smaller by the radius on every side."""
    taps = [math.exp(-0.5 * (i / sigma) ** 2) for i in range(-_BLUR_RADIUS, _BLUR_RADIUS + 1)]
    for dim in (-2, -1):
        size = images.shape[dim] - 2 * _BLUR_RADIUS
        shifted = [images.narrow(dim, start, size) for start in range(len(taps))]
        blurred = shifted[0] * (taps[0] / sum(taps))
        for image, tap in zip(shifted[1:], taps[1:], strict=True):
            blurred.add_(image, alpha=tap / sum(taps))
        images = blurred
    return images
