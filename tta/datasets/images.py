"""Image files to uint8 tensors."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from tta.datasets.resizing import FIT, Resizing, UnfitImageError
from tta.errors import UserError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


def read_image(
    path: Path,
    size: tuple[int, int] | None = None,
    resizing: Resizing = FIT,
    cure: str = "replace it or remove it",
) -> Tensor:
    """Return an image file as uint8 ``[3, H, W]``.

    Args:
        path: a JPEG or PNG file.
        size: (height, width) to resize to; None leaves the image as it is.
        resizing: how.
        cure: what the user can do about a bad file.

    Raises:
        UserError: the file is missing, truncated or no image, or does not fit ``resizing``.
    """
    try:
        with Image.open(path) as image:
            rgb = image.convert("RGB")
    except (FileNotFoundError, PermissionError) as error:
        raise _unreadable(path, error, cure) from error
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise UserError(f"image {str(path)!r} cannot be decoded ({error}); {cure}") from error
    if size is not None:
        try:
            rgb = resizing(rgb, size)
        except UnfitImageError as error:
            raise UserError(f"image {str(path)!r} {error}") from error
    return torch.from_numpy(np.array(rgb)).permute(2, 0, 1)


def check_image(path: Path, cure: str = "replace it or remove it") -> None:
    """Check that an image file is whole, decoding it only where its last bytes leave a doubt.

    Raises:
        UserError: the file is missing, truncated or no image.
    """
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 64))
            tail = file.read()
    except OSError as error:
        raise _unreadable(path, error, cure) from error
    if not (b"IEND" in tail or tail.endswith(b"\xff\xd9")):
        read_image(path, cure=cure)


def _unreadable(path: Path, error: OSError, cure: str) -> UserError:
    if isinstance(error, FileNotFoundError):
        return UserError(f"no image file {str(path)!r}; {cure}")
    return UserError(f"image {str(path)!r} cannot be read ({error.strerror}); {cure}")


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
    """Return uint8 images as float32 in [0, 1] on ``device``; bytes are what travels there."""
    images = images.to(device, non_blocking=True).float().div_(255.0)
    return images.contiguous(memory_format=memory_format)
