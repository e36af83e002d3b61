"""Tensors and plain values in a file whose last line proves it whole."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import torch

from tta.foundation.files import prefix_sha256, written_aside
from tta.foundation.pickles import DAMAGE, load_pickle

TRAILER_BYTES = 4096
"""The trailer, one line of JSON at the end of the file, is shorter than this."""


class DamagedError(Exception):
    """A sealed file is not what was written; the message says how, without the file's name."""


class _Hashed:
    """A file that is written from front to back, with the digest of what went into it."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.sha256 = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()


def write_sealed(
    path: Path, content: dict[str, Any], facts: Mapping[str, Any], *, shared: bool = False
) -> None:
    """Write ``content`` so that a reader finds the old file or the new, never a part.

    Args:
        path: the file; its folder must exist.
        content: tensors and plain values only.
        facts: plain values that :class:`SealedFile` gives before the content is read.
        shared: see :func:`tta.foundation.files.written_aside`.

    Raises:
        OSError: the disk is full or cannot be written; the old file is left as it was.
        RuntimeError: the same; torch's writer turns some of them into this.
    """
    with written_aside(path, shared=shared) as aside, aside.open("wb") as file:
        hashed = _Hashed(file)
        torch.save(content, hashed)
        trailer = {**facts, "sha256": hashed.sha256.hexdigest()}
        file.write(b"\n" + json.dumps(trailer).encode())
        file.flush()
        os.fsync(file.fileno())


class SealedFile:
    """A file that :func:`write_sealed` wrote: its facts at once, its content when asked for.

    Args:
        path: the file.

    Attributes:
        facts: what was written beside the content.

    Raises:
        OSError: the file is missing or cannot be read.
        DamagedError: its end is missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TRAILER_BYTES))
            tail = file.read()
        start = tail.rfind(b"\n") + 1
        self.facts = _facts(tail[start:])
        self._end = max(0, size - (len(tail) - start) - 1)

    def content(self, map_location: str) -> dict[str, Any]:
        """Return what was written, with every tensor on this device.

        Raises:
            OSError: the file cannot be read.
            DamagedError: it is not what was written.
        """
        with self.path.open("rb") as file:
            if prefix_sha256(file, self._end).hexdigest() != self.facts.get("sha256"):
                raise DamagedError("is damaged: its contents do not match their SHA-256")
            file.seek(0)
            try:
                part = _Part(file, self._end)
                content = load_pickle(part, map_location)
            except DAMAGE as error:
                raise DamagedError(f"cannot be read ({error})") from error
        if not isinstance(content, dict):
            raise DamagedError("cannot be read (it holds no mapping)")
        return content


def _facts(trailer: bytes) -> dict[str, Any]:
    try:
        facts = json.loads(trailer)
    except (ValueError, RecursionError):
        facts = None
    if not isinstance(facts, dict):
        raise DamagedError("is damaged: its end is missing")
    return facts


class _Part(io.RawIOBase):
    """The first ``end`` bytes of an open file, as a file: nothing is read twice into memory."""

    def __init__(self, file: IO[bytes], end: int) -> None:
        self.file = file
        self.end = end

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_END:
            offset, whence = self.end + offset, os.SEEK_SET
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()

    def readinto(self, buffer: memoryview) -> int:
        view = memoryview(buffer).cast("B")
        wanted = min(len(view), max(0, self.end - self.file.tell()))
        return self.file.readinto(view[:wanted])
