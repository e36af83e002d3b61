"""Files that are seen whole or not at all, and those that a user names."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

CHUNK_BYTES = 1 << 20
"""Of a file that is read in parts."""
STALE = 24 * 3600.0
"""Seconds after which what a killed process was writing to a path of its own is removed."""


@contextlib.contextmanager
def written_aside(path: Path, *, shared: bool = False) -> Iterator[Path]:
    """Give an empty file beside ``path`` to write to; it gets that name when all is written.

    A reader finds the old file or the new, never a part. What was written is removed where an
    error ends the writing; after a killed process, who writes the same file next removes it. The
    file is always a new one: where its name is taken, by a link to some other file say, that name
    is removed and what it points to is left as it is.

    Args:
        path: the file; its folder must exist.
        shared: several processes may write it at once, each to a path of its own.
    """
    if shared:
        _remove_stale(path)
    owner = f".{os.getpid()}" if shared else ""
    aside = path.with_name(f".{path.name}{owner}.tmp")
    try:
        aside.unlink(missing_ok=True)
        os.close(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666))
        yield aside
        aside.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):  # the error that ended the writing is the one to see
            aside.unlink(missing_ok=True)
        raise


def _remove_stale(path: Path) -> None:
    """Remove what processes that were killed long ago have left of a shared file."""
    prefix, suffix = f".{path.name}.", ".tmp"
    with contextlib.suppress(OSError), os.scandir(path.parent) as entries:
        for entry in entries:
            owner = entry.name.removeprefix(prefix).removesuffix(suffix)
            if entry.name != f"{prefix}{owner}{suffix}" or not owner.isdigit():
                continue
            if time.time() - entry.stat(follow_symlinks=False).st_mtime > STALE:
                os.unlink(entry.path)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file, and its folder; a reader sees the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_aside(path) as aside, aside.open("wb") as file:
        file.write(content.encode("utf-8") if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())


def prefix_sha256(file: IO[bytes], length: int) -> hashlib._Hash:
    """Return the SHA-256 of the first bytes of an open file, which more may be put into."""
    file.seek(0)
    sha256 = hashlib.sha256()
    for start in range(0, length, CHUNK_BYTES):
        sha256.update(file.read(min(CHUNK_BYTES, length - start)))
    return sha256


def open_growing(path: Path) -> IO[bytes]:
    """Open a file that is appended to, made if it is missing.

    Raises:
        OSError: among others where ``path`` is a link: nothing is written to where it points.
    """
    return open(path, "ab", opener=_without_following)


def _without_following(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)
