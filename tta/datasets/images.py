"""Image files to uint8 tensors."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from tta.errors import UserError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


def read_image(path: Path, size: tuple[int, int] | None = None) -> Tensor:
    """Return an image file as uint8 ``[3, H, W]``.

    Args:
        path: a JPEG or PNG file.
        size: (height, width): the short side is resized to fit (bicubic) and the centre is cut
            out; None leaves the image as it is.

    Raises:
        UserError: the file is missing, truncated or no image.
    """
    try:
        with Image.open(path) as image:
            rgb = image.convert("RGB")
    except FileNotFoundError as error:
        raise UserError(f"no image file {str(path)!r}; check the folder") from error
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise UserError(
            f"image {str(path)!r} cannot be decoded ({error}); replace it or remove it"
        ) from error
    if size is not None:
        rgb = _resize_and_crop(rgb, size)
    return torch.from_numpy(np.array(rgb)).permute(2, 0, 1)


def check_image(path: Path) -> None:
    """Check that an image file is whole, decoding it only where its last bytes leave a doubt.

    Raises:
        UserError: the file is missing, truncated or no image.
    """
    with path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - 64))
        tail = file.read()
    if not (b"IEND" in tail or tail.endswith(b"\xff\xd9")):
        read_image(path)


def _resize_and_crop(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    height, width = size
    scale = max(height / image.height, width / image.width)
    if scale != 1.0:
        resized = (max(width, round(image.width * scale)), max(height, round(image.height * scale)))
        image = image.resize(resized, Image.Resampling.BICUBIC)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


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
