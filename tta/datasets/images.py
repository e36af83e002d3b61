"""Image files to uint8 tensors."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from tta.datasets.formats import ends_well, is_torn
from tta.datasets.pixels import as_published, as_shown
from tta.datasets.png_sums import check_pixel_sums
from tta.datasets.resizing import FIT, Resizing, UnfitImageError
from tta.foundation.errors import WRONG_VALUES, UserError, message_of
from tta.foundation.from_host import from_host
from tta.foundation.muted import mute

UNDECODABLE = (
    *WRONG_VALUES,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
    OSError,
    SyntaxError,
    struct.error,
    zlib.error,
)
"""What decoders raise on damaged files."""
DECODERS = r"PIL\b"
"""Modules whose warnings name no file."""
MOST_HEADERS = 4096
"""Files of a data set whose headers are read before a run: a million would take minutes."""


def read_image(
    path: Path,
    size: tuple[int, int] | None = None,
    resizing: Resizing = FIT,
    cure: str = "replace it or remove it",
    published: bool = False,
) -> Tensor:
    """Return an image file as uint8 ``[3, H, W]``.

    Args:
        path: a file of any format of :func:`~tta.datasets.formats.image_suffixes`.
        size: (height, width) to resize to; None leaves the image as it is.
        resizing: how.
        cure: what the user can do about a bad file.
        published: read it as the papers' code does, not as a viewer shows it; see
            :mod:`tta.datasets.pixels`.

    Raises:
        UserError: the file is missing, truncated, too large or no image, or does not fit
            ``resizing``.
    """
    content = _content(path, cure)
    with _named(path, cure):
        if is_torn(content):
            raise ValueError("it ends in zeros, as a copy does that was cut short")
        check_pixel_sums(content)
        with Image.open(io.BytesIO(content)) as image:
            rgb = as_published(image) if published else as_shown(image)
    if size is not None:
        try:
            rgb = resizing(rgb, size)
        except UnfitImageError as error:
            raise UserError(f"image {str(path)!r} {error}") from error
    return torch.from_numpy(np.array(rgb)).permute(2, 0, 1)


def check_image(
    path: Path,
    cure: str = "replace it or remove it",
    published: bool = False,
    header: bool = False,
) -> None:
    """Check that an image file is whole, decoding it only where its ends leave a doubt.

    Args:
        path: the file.
        cure: what the user can do about a bad one.
        published: see :func:`read_image`.
        header: have its decoder read its header too.

    Raises:
        UserError: the file is missing, truncated or no image.
    """
    try:
        with path.open("rb") as file:
            head = file.read(16)
            size = file.seek(0, io.SEEK_END)
            file.seek(max(0, size - 64))
            tail = file.read()
    except (OSError, ValueError) as error:
        raise _unreadable(path, error, cure) from error
    if not ends_well(head, tail, size):
        read_image(path, cure=cure, published=published)
    elif header:
        with _named(path, cure), Image.open(path):
            pass


def file_size(path: Path, cure: str = "replace it or remove it") -> int:
    """Return the bytes of an image file.

    Raises:
        UserError: it is missing.
    """
    try:
        return path.stat().st_size
    except (OSError, ValueError) as error:
        raise _unreadable(path, error, cure) from error


@contextlib.contextmanager
def _named(path: Path, cure: str) -> Iterator[None]:
    """Name the file in what its decoder raises; of mere warnings, which name none, say nothing."""
    mute(module=DECODERS)
    try:
        yield
    except UNDECODABLE as error:
        words = _reason(error)
        raise UserError(f"image {str(path)!r} cannot be decoded ({words}); {cure}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "it is no picture of a known format, or its header is damaged"
    return message_of(error)


def _content(path: Path, cure: str) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise _unreadable(path, error, cure) from error


def _unreadable(path: Path, error: OSError | ValueError, cure: str) -> UserError:
    if isinstance(error, FileNotFoundError):
        return UserError(f"no image file {str(path)!r}; {cure}")
    reason = error.strerror if isinstance(error, OSError) else error
    return UserError(f"image {str(path)!r} cannot be read ({reason}); {cure}")


def take_rows(images: np.ndarray, rows: np.ndarray) -> Tensor:
    """Return rows of uint8 images ``[N, H, W, 3]`` as ``[B, 3, H, W]``: a view, where it can be."""
    first, last = int(rows[0]), int(rows[-1])
    neighbours = last - first == len(rows) - 1 and bool((np.diff(rows) == 1).all())
    chosen = images[first : last + 1] if neighbours else images[rows]
    return torch.from_numpy(chosen).permute(0, 3, 1, 2)


def png_bytes(images: Tensor) -> np.ndarray:
    """Return the size in bytes ``[B]`` that uint8 images ``[B, 3, H, W]`` have as PNG files."""
    sizes = np.empty(len(images), np.int64)
    for row, image in enumerate(images.permute(0, 2, 3, 1).numpy()):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        sizes[row] = file.tell()
    return sizes


def to_unit_range(
    images: Tensor,
    device: torch.device | str = "cpu",
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Tensor:
    """Return uint8 images as float32 in [0, 1] on ``device``; bytes are what travels there.

    Float images, which a user's program gives, are in that range already.
    """
    images = from_host(images, torch.device(device))
    if not images.is_floating_point():
        images = images.float().div_(255.0)
    return images.contiguous(memory_format=memory_format)
