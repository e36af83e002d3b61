"""Images to one size: the same Pillow code for files and for arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tta.foundation.geometry import Size, in_words

MOST_PIXELS = 1 << 27
"""Of a resized image, before its centre is cut out."""


class UnfitImageError(ValueError):
    """An image that cannot be shown in the wanted size; the message says why."""


@dataclass(frozen=True)
class Resizing:
    """How an image of any size becomes one of a wanted size.

    Attributes:
        how: "shorter" resizes by the shorter side, keeping the aspect ratio, "squash" each side on
            its own, "none" not at all; then the centre is cut out.
        filter: of the resampling.
        crop: side of the wanted size relative to that of the resized image, in (0, 1].
        rounds_down: round the resized side down, as timm does; else to the nearest.
    """

    how: str = "shorter"
    filter: Image.Resampling = Image.Resampling.BILINEAR
    crop: float = 1.0
    rounds_down: bool = False

    def __call__(self, image: Image.Image, size: Size) -> Image.Image:
        """Return ``image`` resized, and its centre of ``size`` (height, width) cut out.

        Raises:
            UnfitImageError: the image is smaller and not to be resized, or so narrow that the
                resized one would fill the memory.
        """
        from torchvision.transforms.functional import center_crop  # takes long to import

        target = self._target(image, size)
        if target != image.size:
            image = image.resize(target, self.filter)
        return center_crop(image, list(size))

    def sides(self, size: Size) -> Size:
        """Return the (height, width) that a resized image has at least."""
        rounded = math.floor if self.rounds_down else round
        return rounded(size[0] / self.crop), rounded(size[1] / self.crop)

    def _target(self, image: Image.Image, size: Size) -> Size:
        if self.how == "none":
            if image.height < size[0] or image.width < size[1]:
                raise UnfitImageError(
                    f"is {in_words((image.height, image.width))}, smaller than {in_words(size)}, "
                    "and --resize none was asked for"
                )
            return image.size
        height, width = self.sides(size)
        if self.how == "squash":
            return width, height
        if height * image.width >= width * image.height:  # the height is what binds
            return _bounded(max(width, height * image.width // image.height), height)
        return _bounded(width, max(height, width * image.height // image.width))


def _bounded(width: int, height: int) -> Size:
    if width * height > MOST_PIXELS:
        raise UnfitImageError(
            f"is so narrow that it would be resized to {in_words((height, width))}; pass "
            "--resize squash, or crop it"
        )
    return width, height


FIT = Resizing(filter=Image.Resampling.BICUBIC)
"""As much of the image as fits."""
IMAGENET = Resizing(crop=224 / 256)
"""The short side to 256 and the centre of 224, as the code of the papers has it."""
SQUASH = Resizing("squash")
"""The whole image in the wanted size, bilinearly: nothing of a scene is cut off."""
AS_THEY_ARE = Resizing("none")
"""For images of the wanted size."""


def fitted(images: Tensor, size: Size | None, resizing: Resizing) -> Tensor:
    """Return uint8 images ``[B, 3, H, W]`` in ``size``, each as a file of it would be."""
    same = size in (None, tuple(images.shape[-2:]))
    if same and (size is None or resizing.how == "none" or resizing.crop == 1.0):
        return images
    pixels = images.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    made = [np.asarray(resizing(Image.fromarray(image), size)) for image in pixels]
    return torch.from_numpy(np.stack(made)).to(images.device).permute(0, 3, 1, 2)


def fitted_labels(labels: Tensor, size: Size | None, resizing: Resizing) -> Tensor:
    """Return uint8 label maps ``[B, H, W]`` where images that are fitted have their pixels.

    Each pixel gets the label of the nearest.
    """
    return fitted(labels[:, None].expand(-1, 3, -1, -1), size, of_labels(resizing))[:, 0]


def of_labels(resizing: Resizing) -> Resizing:
    """Return how label maps get the size that images get by ``resizing``."""
    return replace(resizing, filter=Image.Resampling.NEAREST)


def resized_or_fitted(
    images: Tensor, size: Size | None, resizing: Resizing, published: Resizing
) -> Tensor:
    """Return square images in a square ``size`` by torch's bilinear filter, unless told otherwise.

    Args:
        images: uint8 ``[B, 3, S, S]``.
        size: (height, width), or None for as they are.
        resizing: how, where it is not the published one or the size is no square.
        published: what is left to torch, so that recorded figures stay.
    """
    if resizing != published or size is not None and size[0] != size[1]:
        return fitted(images, size, resizing)
    if size in (None, tuple(images.shape[-2:])):
        return images
    from torchvision.transforms.functional import resize  # takes long to import

    return resize(images, list(size), antialias=True)
