"""Arrays out of an npz file that somebody else may have written, or damaged."""

from __future__ import annotations

import io
import lzma
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from tta.datasets.paths import array_file
from tta.foundation.errors import WRONG_VALUES, UserError, message_of

_UNREADABLE = (
    *WRONG_VALUES,  # RuntimeError: encrypted, or compressed by a method that is not known here
    MemoryError,
    OSError,
    SyntaxError,
    lzma.LZMAError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
_SUFFIX = ".npy"
_END = struct.Struct(
    "<4s6sH8sH"
)  # of an archive: its mark, disks, number of entries, place, comment
_UNTOLD = 0xFFFF


def read_arrays(
    path: Path, required: Sequence[str], optional: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """Return arrays of an npz file by name; others in it are not read.

    Every byte of them is checked against the checksum that the file keeps.

    Raises:
        UserError: the file is missing, damaged, encrypted, no npz file of plain arrays, or lacks
            a required one.
    """
    array_file(str(path))
    try:
        with zipfile.ZipFile(path) as archive:
            present = _names(archive)
            _check_present(path, required, present)
            wanted = [key for key in (*required, *optional) if key in present]
            return {key: _read(archive, key + _SUFFIX) for key in wanted}
    except _UNREADABLE as error:
        raise UserError(
            f"{str(path)!r} cannot be read as an .npz file of plain arrays ({_reason(error)}); "
            "write it again with numpy.savez"
        ) from error


def array_names(path: Path) -> list[str]:
    """Return the names of all arrays of a file that could be read, sorted."""
    with zipfile.ZipFile(path) as archive:
        return sorted(_names(archive))


def _names(archive: zipfile.ZipFile) -> set[str]:
    """Return the names, each as the archive has it in both of its places.

    Raises:
        zipfile.BadZipFile: some are lost, or differ between the places.
    """
    archive.fp.seek(-_END.size, io.SEEK_END)
    mark, _, count = _END.unpack(archive.fp.read(_END.size))[:3]
    if mark == b"PK\5\6" and count not in (len(archive.namelist()), _UNTOLD):
        raise zipfile.BadZipFile("its directory has lost entries")
    for member in archive.namelist():
        archive.open(member).close()  # compares them
    return {name.removesuffix(_SUFFIX) for name in archive.namelist()}


def _check_present(path: Path, required: Sequence[str], present: Collection[str]) -> None:
    for key in required:
        if key not in present:
            found = ", ".join(sorted(present)) or "nothing"
            raise UserError(
                f"{str(path)!r} has no array {key!r}, only {found}; save it under that key"
            )


def _read(archive: zipfile.ZipFile, member: str) -> np.ndarray:
    with archive.open(member) as file:
        array = np.lib.format.read_array(file, allow_pickle=False)
        if file.read(1):  # reading to the end is also what checks the checksum
            raise ValueError(f"{member} is longer than it says")
    return array


def _reason(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "it does not fit into memory"
    return message_of(error)
