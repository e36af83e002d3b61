"""Decoded images on disk: uint8 arrays that are mapped into memory, filled as images are read."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tta.foundation.errors import UserError
from tta.foundation.files import written_aside
from tta.foundation.lock import FolderLock

_CHECKSUM = 4  # bytes of a CRC-32


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
    except (OSError, ValueError) as error:
        raise _unwritable(folder, error) from error
    return folder


def _unwritable(folder: Path, error: OSError | ValueError) -> UserError:
    reason = error.strerror if isinstance(error, OSError) else error
    return UserError(
        f"cannot write decoded images to {str(folder)!r} ({reason}); choose another "
        "--decoded-cache, or leave it out"
    )


class DecodedImages:
    """Images of one size in one file; several processes may read and fill it at once.

    A row of the file is an image and a checksum of it and of its source's stamp, written last: a
    row that is empty, half written, damaged or of an older source is decoded again.

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
        self._file = folder / f"{key}.rgb"
        shape = (count, int(np.prod(self.shape)) + _CHECKSUM)
        try:
            _create_once(self._file, shape)
            self._rows = np.memmap(self._file, np.uint8, "r+", shape=shape)
        except (OSError, ValueError) as error:
            raise _unwritable(folder, error) from error

    def take(
        self,
        indices: np.ndarray,
        stamps: Sequence[bytes],
        decode: Callable[[np.ndarray], Tensor],
    ) -> Tensor:
        """Return images ``[B, 3, H, W]`` (uint8).

        Args:
            indices: rows ``[B]``.
            stamps: what the source of each is known by; another one where it has changed.
            decode: gives the images of rows that are not there yet.
        """
        rows = self._rows[indices]
        stale = [k for k, row in enumerate(rows) if not _is_whole(row, stamps[k])]
        if stale:
            missing, first = np.unique(indices[stale], return_index=True)
            decoded = decode(missing).permute(0, 2, 3, 1).numpy().reshape(len(missing), -1)
            self._write(missing, decoded, [stamps[stale[k]] for k in first])
            rows[stale, :-_CHECKSUM] = decoded[np.searchsorted(missing, indices[stale])]
        images = rows[:, :-_CHECKSUM].reshape(-1, *self.shape)
        return torch.from_numpy(images).permute(0, 3, 1, 2)

    def _write(self, rows: np.ndarray, images: np.ndarray, stamps: Sequence[bytes]) -> None:
        self._reserve(rows)
        self._rows[rows, :-_CHECKSUM] = images
        for row, image, stamp in zip(rows, images, stamps, strict=True):
            self._rows[row, -_CHECKSUM:] = np.frombuffer(_checksum(image, stamp), np.uint8)

    def _reserve(self, rows: np.ndarray) -> None:
        """Take room on the disk: the file has holes, and to write where none is left is fatal."""
        if not hasattr(os, "posix_fallocate"):
            return
        length = self._rows.shape[1]
        try:
            with self._file.open("r+b") as opened:
                for row in rows.tolist():
                    os.posix_fallocate(opened.fileno(), row * length, length)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # not on this file system
                raise _unwritable(self._file.parent, error) from error


def _checksum(image: np.ndarray, stamp: bytes) -> bytes:
    return zlib.crc32(image, zlib.crc32(stamp)).to_bytes(_CHECKSUM, "little")


def _is_whole(row: np.ndarray, stamp: bytes) -> bool:
    return bool(stamp) and row[-_CHECKSUM:].tobytes() == _checksum(row[:-_CHECKSUM], stamp)


def _create_once(file: Path, shape: tuple[int, int]) -> None:
    """Create the file, unless another process does: a second would take the place of its rows.

    One of another length, which somebody has cut or added to, is made anew, and so is a link.
    """
    if _has_length(file, shape):
        return
    lock = FolderLock(file.parent, wait=True)
    try:
        if not _has_length(file, shape):
            _create(file, shape)
    finally:
        lock.release()


def _has_length(file: Path, shape: tuple[int, int]) -> bool:
    """Return whether the file is there, of that length; a link to some other file is none."""
    if not file.exists():
        return False
    found = file.lstat()
    return stat.S_ISREG(found.st_mode) and found.st_size == shape[0] * shape[1]


def _create(file: Path, shape: tuple[int, int]) -> None:
    needed, free = shape[0] * shape[1], shutil.disk_usage(file.parent).free
    if needed > free:
        raise UserError(
            f"decoded images need {needed / 2**30:.1f} GiB, and {str(file.parent)!r} has "
            f"{free / 2**30:.1f} GiB; make room or leave --decoded-cache out"
        )
    with written_aside(file) as aside, aside.open("wb") as opened:
        opened.truncate(needed)
