"""How big image files are, read from their headers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from PIL import ExifTags, Image

from tta.datasets.images import UNDECODABLE, read_image
from tta.geometry import Size


def read_size(file: Path, cure: str, published: bool = False) -> Size:
    """Return (height, width) of an image file, decoding it only where its header leaves a doubt.

    Args:
        file: the image.
        cure: what the user can do about a bad file.
        published: see :func:`tta.datasets.images.read_image`.

    Raises:
        UserError: see :func:`tta.datasets.images.read_image`.
    """
    try:
        with Image.open(file) as image:
            if published or image.getexif().get(ExifTags.Base.Orientation, 1) == 1:
                return image.height, image.width
    except UNDECODABLE:
        pass  # decoding says what is wrong with it
    height, width = read_image(file, cure=cure, published=published).shape[1:]
    return height, width


def sizes_of(files: Iterable[Path], cure: str, published: bool = False) -> frozenset[Size]:
    """Return every (height, width) that occurs among image files; see :func:`read_size`."""
    return frozenset(read_size(file, cure, published) for file in files)
