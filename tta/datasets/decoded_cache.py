"""Decoded images on disk: uint8 arrays that are mapped into memory, filled as images are read."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tta.errors import UserError
from tta.files import written_aside
from tta.lock import FolderLock


def open_cache_folder(path: str) -> Path:
    """Return the folder of decoded images, made if it is missing.

    Raises:
        UserError: it cannot be made or written to.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise _unwritable(folder, error) from error
    return folder


def _unwritable(folder: Path, error: OSError) -> UserError:
    return UserError(
        f"cannot write decoded images to {str(folder)!r} ({error.strerror}); choose another "
        "--decoded-cache, or leave it out"
    )


class DecodedImages:
    """Images of one size in one file; several processes may read and fill it at once.

    A row of the file is an image and a byte that is set after the image was written, so that a
    row is either whole or decoded again.

    Args:
        folder: where the file is.
        key: its name, different where images differ.
        count: number of images.
        size: (height, width).

    Raises:
        UserError: the file cannot be made, or does not fit on the disk.
    """

    def __init__(self, folder: Path, key: str, count: int, size: tuple[int, int]) -> None:
        self.shape = (*size, 3)
        file = folder / f"{key}.npy"
        shape = (count, int(np.prod(self.shape)) + 1)
        try:
            if not file.exists():
                _create_once(file, shape)
            self._rows = np.lib.format.open_memmap(file, "r+")
        except (OSError, ValueError) as error:
            problem = error if isinstance(error, OSError) else OSError(0, str(error))
            raise _unwritable(folder, problem) from error

    def take(self, indices: np.ndarray, decode: Callable[[np.ndarray], Tensor]) -> Tensor:
        """Return images ``[B, 3, H, W]``; ``decode`` gives those that are not there yet."""
        missing = np.unique(indices[self._rows[indices, -1] == 0])
        if len(missing):
            decoded = decode(missing).permute(0, 2, 3, 1).numpy()
            self._reserve(missing)
            self._rows[missing, :-1] = decoded.reshape(len(missing), -1)
            self._rows[missing, -1] = 1
        images = self._rows[indices, :-1].reshape(-1, *self.shape)
        return torch.from_numpy(images).permute(0, 3, 1, 2)

    def _reserve(self, rows: np.ndarray) -> None:
        """Take room on the disk: the file has holes, and to write where none is left is fatal."""
        if not hasattr(os, "posix_fallocate"):
            return
        file, length = Path(self._rows.filename), self._rows.shape[1]
        try:
            with file.open("r+b") as opened:
                for row in rows.tolist():
                    start = self._rows.offset + row * length
                    os.posix_fallocate(opened.fileno(), start, length)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # not on this file system
                raise _unwritable(file.parent, error) from error


def _create_once(file: Path, shape: tuple[int, int]) -> None:
    """Create the file, unless another process does: a second would take the place of its rows."""
    lock = FolderLock(file.parent, wait=True)
    try:
        if not file.exists():
            _create(file, shape)
    finally:
        lock.release()


def _create(file: Path, shape: tuple[int, int]) -> None:
    needed, free = shape[0] * shape[1], shutil.disk_usage(file.parent).free
    if needed > free:
        raise UserError(
            f"decoded images need {needed / 2**30:.1f} GiB, and {str(file.parent)!r} has "
            f"{free / 2**30:.1f} GiB; make room or leave --decoded-cache out"
        )
    with written_aside(file) as aside:
        np.lib.format.open_memmap(aside, "w+", np.uint8, shape)
