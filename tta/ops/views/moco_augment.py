"""Strong and weak views of MoCo v2, a draw per image, as AdaContrast trains on them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tta.ops.generators import generator_on
from tta.ops.views.augment import Range
from tta.ops.views.layout import memory_format_of

_BLUR_RADIUS = 6
_NO_BLUR = 1e-3
_ASPECTS = (math.log(3 / 4), math.log(4 / 3))


@dataclass(frozen=True)
class MocoDraw:
    """One draw for a batch; every tensor is ``[B, 1, 1, 1]`` and on the images' device.

    Attributes:
        box: left, top, width and height of the crop as shares of the image ``[4, B]``, or None.
        order: the order of brightness, contrast, saturation and hue (0 to 3), one per batch.
        factors: brightness, contrast and saturation; 1 leaves an image as it is.
        hue: shift in turns of the colour circle.
        grey: which images lose their colours.
        blur_sigma: standard deviation in pixels; ``_NO_BLUR`` leaves an image as it is.
        flip: which images are mirrored left and right.
    """

    box: Tensor | None
    order: tuple[int, ...]
    factors: tuple[Tensor, Tensor, Tensor]
    hue: Tensor
    grey: Tensor
    blur_sigma: Tensor
    flip: Tensor


@dataclass(frozen=True)
class MocoAugment:
    """Crop, colour jitter, greyscale, blur and flip, each with its probability.

    Chen et al., "Improved baselines with momentum contrastive learning", 2020, with the jitter
    of AdaContrast (Chen et al., CVPR 2022). The order of the jitter's parts is drawn once per
    batch, everything else per image. A crop too wide or too high is cut to the image, where the
    published transform draws again.

    Attributes:
        crop: range of a crop's share of the area; None for no crop.
        jitter: largest change of brightness, contrast and saturation.
        hue: largest shift, in turns of the colour circle.
        jitter_probability, grey_probability, blur_probability: of one image.
        blur_sigma: range of the blur's standard deviation in pixels.
    """

    crop: Range | None = None
    jitter: float = 0.4
    hue: float = 0.1
    jitter_probability: float = 0.8
    grey_probability: float = 0.2
    blur_probability: float = 0.5
    blur_sigma: Range = (0.1, 2.0)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return new views of images ``[B, 3, H, W]`` in [0, 1], in their memory format.

        ``generator`` is a CPU generator; the host never waits for another device.
        """
        output = transform(images, self.draw(images, generator))
        return output.contiguous(memory_format=memory_format_of(images))

    def draw(self, images: Tensor, generator: torch.Generator) -> MocoDraw:
        """Draw the parameters of a batch."""
        order = torch.randperm(4, generator=generator).tolist()
        uniform = _Uniform(images, generator)
        jittered = uniform() < self.jitter_probability
        low, high = 1 - self.jitter, 1 + self.jitter
        blurred = uniform() < self.blur_probability
        return MocoDraw(
            box=None if self.crop is None else _draw_box(self.crop, uniform),
            order=tuple(order),
            factors=tuple(torch.where(jittered, uniform(low, high), 1.0) for _ in range(3)),
            hue=torch.where(jittered, uniform(-self.hue, self.hue), 0.0),
            grey=uniform() < self.grey_probability,
            blur_sigma=torch.where(blurred, uniform(*self.blur_sigma), _NO_BLUR),
            flip=uniform() < 0.5,
        )


def _grey(images: Tensor) -> Tensor:
    from torchvision.transforms.v2.functional import rgb_to_grayscale  # takes long to import

    return rgb_to_grayscale(images)


def flip_at_random(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return the weak view: every image mirrored left and right with probability 1/2."""
    return torch.where(_Uniform(images, generator)() < 0.5, images.flip(3), images)


def transform(images: Tensor, drawn: MocoDraw) -> Tensor:
    """Apply a draw to images ``[B, 3, H, W]`` in [0, 1]."""
    if drawn.box is not None:
        images = _crop(images, drawn.box)
    for part in drawn.order:
        images = shift_hue(images, drawn.hue) if part == 3 else _adjust(images, part, drawn)
    images = torch.where(drawn.grey, _grey(images), images)
    images = _blur(images, drawn.blur_sigma.flatten())
    return torch.where(drawn.flip, images.flip(3), images)


def shift_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Turn the hue of images ``[B, 3, H, W]`` by ``turns`` ``[B, 1, 1, 1]`` of the circle.

    Value and chroma of HSV stay; grey pixels do not change.
    """
    value, brightest = images.max(1, keepdim=True)
    chroma = value - images.amin(1, keepdim=True)
    r, g, b = images.split(1, 1)
    sixths = torch.cat([g - b, b - r, r - g], 1).gather(1, brightest)
    hue = sixths / chroma.clamp_min(1e-12) + 2 * brightest + 6 * turns
    phase = torch.cat([5 + hue, 3 + hue, 1 + hue], 1).remainder(6)
    return value - chroma * torch.minimum(phase, 4 - phase).clamp(0, 1)


class _Uniform:
    """Draws ``[B, 1, 1, 1]`` on the device of the images."""

    def __init__(self, images: Tensor, generator: torch.Generator) -> None:
        self.images, self.generator = images, generator_on(images.device, generator)

    def __call__(self, low: float = 0.0, high: float = 1.0) -> Tensor:
        shape = (len(self.images), 1, 1, 1)
        drawn = torch.rand(shape, generator=self.generator, device=self.images.device)
        return low + (high - low) * drawn


def _draw_box(area: Range, uniform: _Uniform) -> Tensor:
    share, aspect = uniform(*area), uniform(*_ASPECTS).exp()
    width, height = (share * aspect).sqrt().clamp_max(1), (share / aspect).sqrt().clamp_max(1)
    box = uniform() * (1 - width), uniform() * (1 - height), width, height
    return torch.stack([side.flatten() for side in box])


def _crop(images: Tensor, box: Tensor) -> Tensor:
    left, top, width, height = box
    zero = torch.zeros_like(left)
    rows = [width, zero, 2 * left + width - 1, zero, height, 2 * top + height - 1]
    grid = F.affine_grid(torch.stack(rows, 1).view(-1, 2, 3), images.shape, align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _adjust(images: Tensor, part: int, drawn: MocoDraw) -> Tensor:
    """Move images away from black, from their mean grey or from their own greys."""
    grey = _grey(images)
    base = (torch.zeros_like(grey), grey.mean((1, 2, 3), keepdim=True), grey)[part]
    return torch.lerp(base.expand_as(images), images, drawn.factors[part]).clamp(0, 1)


def _blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Separable Gaussian with a standard deviation per image ``[B]``, edges mirrored."""
    offsets = torch.arange(-_BLUR_RADIUS, _BLUR_RADIUS + 1, device=images.device)
    taps = (-0.5 * (offsets / sigma[:, None]).square()).softmax(1)
    for dim in (2, 3):
        size = images.shape[dim]
        padded = _mirrored(images, dim)
        images = torch.zeros_like(images)
        for start, tap in enumerate(taps.T):
            images.addcmul_(padded.narrow(dim, start, size), tap.view(-1, 1, 1, 1))
    return images


def _mirrored(images: Tensor, dim: int) -> Tensor:
    """Return images with :data:`_BLUR_RADIUS` more pixels on both sides of a dimension."""
    size = images.shape[dim]
    if size > _BLUR_RADIUS:
        sides = [_BLUR_RADIUS] * 2
        return F.pad(images, [0, 0, *sides] if dim == 2 else [*sides, 0, 0], mode="reflect")
    period = max(1, 2 * (size - 1))  # there and back
    places = torch.arange(-_BLUR_RADIUS, size + _BLUR_RADIUS, device=images.device) % period
    return images.index_select(dim, torch.minimum(places, period - places).clamp(max=size - 1))
