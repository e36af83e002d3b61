"""Files that are seen whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def written_aside(path: Path, *, shared: bool = False) -> Iterator[Path]:
    """Give a path beside ``path`` to write to; it gets that name when all is written.

    A reader finds the old file or the new, never a part. What was written is removed where an
    error ends the writing; after a killed process, who writes the same file next overwrites it.

    Args:
        path: the file; its folder must exist.
        shared: several processes may write it at once, each to a path of its own.
    """
    owner = f".{os.getpid()}" if shared else ""
    aside = path.with_name(f".{path.name}{owner}.tmp")
    try:
        yield aside
        aside.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):  # the error that ended the writing is the one to see
            aside.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file, and its folder; a reader sees the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_aside(path) as aside, aside.open("wb") as file:
        file.write(content.encode("utf-8") if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())
