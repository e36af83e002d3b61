"""Image files of kinds that Pillow does not write itself."""

from __future__ import annotations

import struct
import zlib

import numpy as np

GREY, COLOUR, GREY_ALPHA, COLOUR_ALPHA = 0, 2, 4, 6
"""Colour types of PNG."""


def chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def png(size: tuple[int, int], depth: int, kind: int, pixels: bytes, *extra: bytes) -> bytes:
    """Return a PNG file of one row of ``pixels``, with chunks before them; size (width, height)."""
    header = struct.pack(">IIBBBBB", *size, depth, kind, 0, 0, 0)
    body = [chunk(b"IHDR", header), *extra, chunk(b"IDAT", zlib.compress(b"\0" + pixels))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body) + chunk(b"IEND", b"")


def png16(kind: int, pixels: list, *extra: bytes) -> bytes:
    """Return a PNG file of 16 bits a channel, of one row of ``pixels``."""
    return png((len(pixels), 1), 16, kind, np.array(pixels, ">u2").tobytes(), *extra)


def clear(*values: int) -> bytes:
    """Return the chunk that makes one grey or colour transparent."""
    return chunk(b"tRNS", struct.pack(f">{len(values)}H", *values))


def grey_tiff(width: int, bits: int, photometric: int, pixels: bytes) -> bytes:
    """Return a TIFF file of one row of grey ``pixels``; 0 is white where photometric is 0."""
    tags = {256: width, 257: 1, 258: bits, 259: 1, 262: photometric, 277: 1, 278: 1}
    tags |= {273: 8 + 2 + 12 * 9 + 4, 279: len(pixels)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, tags[tag]) for tag in sorted(tags))
    return b"II*\0" + struct.pack("<IH", 8, 9) + entries + bytes(4) + pixels
