"""Label maps in image files: one channel of 8 bits, or a picture with a palette, of numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tta.datasets.headers import read_header
from tta.datasets.images import UNDECODABLE
from tta.datasets.resizing import Resizing, UnfitImageError, of_labels
from tta.foundation.errors import UserError, message_of
from tta.foundation.geometry import Size, in_words

_NUMBERS = ("L", "P", "1")
"""Modes of Pillow whose pixels are the numbers themselves."""


def read_label_map(
    path: Path,
    size: Size | None,
    resizing: Resizing,
    cure: str,
    table: np.ndarray | None = None,
) -> Tensor:
    """Return a label map as uint8 ``[H, W]``.

    Args:
        path: the file.
        size: (height, width) that it gets as its image gets it, by the nearest pixel; None leaves
            it as it is.
        resizing: of the image.
        cure: what the user can do about a bad file.
        table: what the numbers of the file become, ``[256]``; None keeps them.

    Raises:
        UserError: the file is missing, damaged or holds no numbers, or does not fit ``resizing``.
    """
    numbers = _opened(path, cure)
    if size is not None:
        try:
            numbers = of_labels(resizing)(numbers, size)
        except UnfitImageError as error:
            raise UserError(f"label map {str(path)!r} {error}") from error
    values = np.array(numbers, np.uint8)
    return torch.from_numpy(values if table is None else table[values])


def _opened(path: Path, cure: str) -> Image.Image:
    try:
        with Image.open(path) as image:
            image.load()
    except FileNotFoundError as error:
        raise UserError(f"no label map {str(path)!r}; {cure}") from error
    except UNDECODABLE as error:
        raise UserError(
            f"label map {str(path)!r} cannot be decoded ({message_of(error)}); {cure}"
        ) from error
    if image.mode not in _NUMBERS:
        raise UserError(
            f"label map {str(path)!r} is a picture of mode {image.mode}, and one channel of class "
            "numbers from 0 to 255 is expected; save the numbers of its classes as an 8-bit PNG"
        )
    return image


def check_values(labels: Tensor, classes: int, ignored: int, path: Path) -> None:
    """Refuse numbers that are neither classes nor ignored.

    Raises:
        UserError: naming the first.
    """
    found = torch.bincount(labels.flatten().long(), minlength=256).nonzero().flatten().tolist()
    wrong = [value for value in found if value >= classes and value != ignored]
    if wrong:
        raise UserError(
            f"label map {str(path)!r} holds {wrong[0]}, and classes are 0 to {classes - 1} and "
            f"{ignored} is ignored; number the classes so, or name more of them"
        )


def check_pair(image: Path, labels: Path, cure: str, published: bool) -> Size:
    """Return the size of an image and its label map, which is one.

    Raises:
        UserError: one is missing, their sizes differ, or the image is turned when it is shown.
    """
    if not labels.is_file():
        raise UserError(f"no label map {str(labels)!r} for image {str(image)!r}; {cure}")
    header, other = read_header(image, cure, published), read_header(labels, cure, True).size
    size = header.size
    if "turned" in header.traits:
        raise UserError(
            f"image {str(image)!r} is turned by its EXIF orientation, and nothing tells whether "
            "its label map is; save both upright, without that tag"
        )
    if size != other:
        raise UserError(
            f"label map {str(labels)!r} is {in_words(other)}, its image {str(image)!r} "
            f"{in_words(size)}; {cure}"
        )
    return size
