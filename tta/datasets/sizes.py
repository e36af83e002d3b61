"""How big image files are, read from their headers."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path

from PIL import ExifTags, Image

from tta.datasets.images import read_image
from tta.geometry import Size

# What Pillow raises on a header that is damaged or promises too much.
_DAMAGE = (OSError, SyntaxError, ValueError, LookupError, TypeError, OverflowError, struct.error)


def read_size(file: Path, cure: str) -> Size:
    """Return (height, width) of an image file, decoding it only where its header leaves a doubt.

    Raises:
        UserError: see :func:`tta.datasets.images.read_image`.
    """
    try:
        with Image.open(file) as image:
            if image.getexif().get(ExifTags.Base.Orientation, 1) == 1:
                return image.height, image.width
    except (*_DAMAGE, Image.DecompressionBombError):
        pass  # decoding says what is wrong with it
    height, width = read_image(file, cure=cure).shape[1:]
    return height, width


def sizes_of(files: Iterable[Path], cure: str) -> frozenset[Size]:
    """Return every (height, width) that occurs among image files."""
    return frozenset(read_size(file, cure) for file in files)
