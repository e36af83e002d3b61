"""Random flips and crops whose draws come from outside: pure functions of a stream's position."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

from tta.corruptions.random import ImageRandom

_TRIES = 10
_AREA = (0.08, 1.0)
_RATIO = (3 / 4, 4 / 3)
_PADDING = 4


@dataclass(frozen=True)
class RandomCrop:
    """A random flip, and a crop of random area and aspect ratio resized to the wanted size.

    The distribution is that of torchvision's ``RandomHorizontalFlip`` and ``RandomResizedCrop``
    with their defaults: an area of 8 to 100 % and a ratio of 3/4 to 4/3, ten tries, then the
    largest centre crop.

    Attributes:
        draws: uniform in (0, 1): the flip's, and four for every try.
    """

    draws: Sequence[float]

    DRAWS: ClassVar[int] = 1 + 4 * _TRIES

    def __call__(self, image: Image.Image, size: tuple[int, int]) -> Image.Image:
        """Return the crop of ``image`` in ``size`` (height, width)."""
        if self.draws[0] < 0.5:
            image = ImageOps.mirror(image)
        box = self._box(*image.size)
        return image.crop(box).resize(size[::-1], Image.Resampling.BILINEAR)

    def _box(self, width: int, height: int) -> tuple[int, int, int, int]:
        low, high = (math.log(ratio) for ratio in _RATIO)
        for first in range(1, len(self.draws), 4):
            area, ratio, across, down = self.draws[first : first + 4]
            pixels = width * height * (_AREA[0] + area * (_AREA[1] - _AREA[0]))
            aspect = math.exp(low + ratio * (high - low))
            wide, tall = round(math.sqrt(pixels * aspect)), round(math.sqrt(pixels / aspect))
            if 0 < wide <= width and 0 < tall <= height:
                left, top = int(across * (width - wide + 1)), int(down * (height - tall + 1))
                return left, top, left + wide, top + tall
        return self._centre(width, height)

    @staticmethod
    def _centre(width: int, height: int) -> tuple[int, int, int, int]:
        wide = min(width, round(height * _RATIO[1]))
        tall = min(height, round(width / _RATIO[0]))
        left, top = (width - wide) // 2, (height - tall) // 2
        return left, top, left + wide, top + tall


def padded_crops(images: Tensor, random: ImageRandom) -> Tensor:
    """Return uint8 images ``[B, 3, S, S]``, flipped at random, padded by 4 and cropped again."""
    side = images.shape[-1]
    flips = random.uniform() < 0.5
    corners = random.integers(0, 2 * _PADDING + 1, 2).tolist()
    flipped = torch.where(flips.view(-1, 1, 1, 1), images.flip(3), images)
    padded = F.pad(flipped, (_PADDING,) * 4)
    crops = [
        image[:, top : top + side, left : left + side]
        for image, (top, left) in zip(padded, corners, strict=True)
    ]
    return torch.stack(crops)
