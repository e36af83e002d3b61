"""The checksums of PNG files, of which Pillow passes over those of the pixels."""

from __future__ import annotations

import zlib

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def check_pixel_sums(content: bytes) -> None:
    """Refuse a PNG file whose stored pixels are not those that were written.

    Args:
        content: a file of any format; others have no such sums.

    Raises:
        ValueError: a checksum is wrong.
    """
    if not content.startswith(_SIGNATURE):
        return
    place, view = len(_SIGNATURE), memoryview(content)
    while place + 8 <= len(content):
        stop = place + 8 + int.from_bytes(view[place : place + 4], "big")
        kind = content[place + 4 : place + 8]
        if kind == b"IDAT":
            if zlib.crc32(view[place + 4 : stop]) != int.from_bytes(view[stop : stop + 4], "big"):
                raise ValueError("the checksum of its pixels is wrong")
        elif kind == b"IEND":
            return
        place = stop + 4
