"""Which files are pictures, and how a whole one ends."""

from __future__ import annotations

from functools import cache

from PIL import Image

_NO_PICTURES = frozenset(("PDF", "EPS", "WMF", "MPEG", "FLI", "BUFR", "GRIB", "HDF5"))
"""Formats that Pillow registers but that are documents, films or measurements, or that another
program would have to draw."""


@cache
def image_suffixes() -> frozenset[str]:
    """Return the suffixes, in small letters, of every still image that Pillow reads here."""
    known = Image.registered_extensions()  # loads every plug-in
    return frozenset(
        suffix for suffix, kind in known.items() if kind in Image.OPEN and kind not in _NO_PICTURES
    )


def ends_well(head: bytes, tail: bytes, size: int) -> bool:
    """Return whether a file is whole as far as its format tells; False leaves it in doubt.

    Args:
        head: its first 16 bytes.
        tail: its last 64 bytes.
        size: of the file in bytes.
    """
    if head.startswith(b"\x89PNG"):
        return b"IEND" in tail
    if head.startswith(b"\xff\xd8"):
        return tail.endswith(b"\xff\xd9")
    if head.startswith(b"GIF8"):
        return tail.endswith(b";")
    if head.startswith(b"RIFF"):
        return size >= 8 + int.from_bytes(head[4:8], "little") > 8
    if head.startswith(b"BM"):
        return size >= int.from_bytes(head[2:6], "little") > 54  # the least header
    return False


def is_torn(content: bytes) -> bool:
    """Return whether a JPEG ends in zeros instead of its end mark.

    A copy that a full disk or a crash has cut short may have its full length so, and its decoder
    shows grey for what is missing.
    """
    if not (content.startswith(b"\xff\xd8") and content.endswith(bytes(16))):
        return False
    return not content.rstrip(b"\0").endswith(b"\xff\xd9")
