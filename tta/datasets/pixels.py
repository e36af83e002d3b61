"""A decoded picture of any mode as the red, green and blue that it shows.

There are two ways. Files of one's own are read as a viewer shows them: turned as their EXIF
orientation says, and what is transparent over white. Published data sets are read as the papers'
loader, torchvision's, reads them: not turned, and alpha is dropped. In both, 16 bits are scaled
to 8 by their upper byte, CMYK is converted without a colour profile, and of several frames the
first is read.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

_ORIENTATION = 0x0112  # the EXIF tag
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_WITH_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262  # TIFF tags
_WHITE_IS_ZERO = 0
TRAITS = {
    "turned": "turned by their EXIF orientation",
    "alpha": "with transparency, shown over white",
    "deep": "of 16 bits a channel, scaled to 8",
    "cmyk": "of CMYK, converted without a colour profile",
    "frames": "of several frames, of which the first is read",
}
"""What is worth saying of a file that is read as a viewer shows it, in words."""


def as_shown(image: Image.Image) -> Image.Image:
    """Return a picture as RGB, turned as its EXIF orientation says and laid over white.

    Raises:
        ValueError: its numbers have no range that black and white could be told from.
    """
    image.load()  # some formats tell their orientation behind the pixels
    turn = _TURNS.get(_orientation(image))
    image = _over_white(_eight_bits(image))
    return image if turn is None else image.transpose(turn)


def as_published(image: Image.Image) -> Image.Image:
    """Return a picture as RGB as torchvision's loader does: not turned, without its alpha.

    Raises:
        ValueError: its numbers have no range that black and white could be told from.
    """
    return _eight_bits(image).convert("RGB")


def traits(image: Image.Image) -> list[str]:
    """Return which of :data:`TRAITS` a file has, as far as its header tells."""
    found = {
        "turned": _orientation(image) in _TURNS,
        "alpha": _has_alpha(image),
        "deep": _is_deep(image) or ";16" in _raw_mode(image),
        "cmyk": image.mode == "CMYK",
        "frames": getattr(image, "is_animated", False),
    }
    return [name for name, holds in found.items() if holds]


def _orientation(image: Image.Image) -> int:
    return image.getexif().get(_ORIENTATION, 1)


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in _WITH_ALPHA or "transparency" in image.info


def _is_deep(image: Image.Image) -> bool:
    return image.mode.startswith("I;16") or image.mode == "I" and image.format in ("PNG", "PPM")


def _raw_mode(image: Image.Image) -> str:
    """Return how the file stores a pixel; pictures in colour come with 8 of their 16 bits."""
    tiles = getattr(image, "tile", None)
    arguments = tiles[0][3] if tiles else ""
    return str(arguments[0] if isinstance(arguments, tuple) else arguments)


def _eight_bits(image: Image.Image) -> Image.Image:
    if _is_deep(image):
        return _upper_byte(image)
    if image.mode in ("I", "F"):
        raise ValueError(
            f"its pixels are {'floating-point' if image.mode == 'F' else '32-bit'} numbers, whose "
            "range is not told: save it with 8 or 16 bits a channel"
        )
    return image


def _upper_byte(image: Image.Image) -> Image.Image:
    tags = getattr(image, "tag_v2", {})
    bits = max(8, *tags.get(_BITS_PER_SAMPLE, (16,)))
    values = np.asarray(image).astype(np.int64)
    grey = (values >> (bits - 8)).clip(0, 255).astype(np.uint8)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        grey = 255 - grey
    clear = image.info.get("transparency")
    if not isinstance(clear, int):
        return Image.fromarray(grey)
    alpha = np.where(values == clear, 0, 255).astype(np.uint8)
    return Image.fromarray(np.stack([grey, alpha], axis=-1))


def _over_white(image: Image.Image) -> Image.Image:
    if not _has_alpha(image):
        return image.convert("RGB")
    clear = image.info.get("transparency")
    if isinstance(clear, tuple) and max(clear) > 255:  # of 16 bits, as the pixels once were
        image.info["transparency"] = tuple(value >> 8 for value in clear)
    picture = image.convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture).convert("RGB")
