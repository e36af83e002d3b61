"""Which files a data set is made of, as digests that differ where a file differs."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

CHEAP = 512 * 2**20
"""Bytes that are read to tell files by what they hold; larger data is told by size and time."""
_OPENING = 2**14  # to open a file takes as long as to read this many bytes
PROBES = 64
"""Files of larger data whose content is read all the same."""


@dataclass(frozen=True)
class Identity:
    """Digests of files.

    Attributes:
        exact: differs where any file differs: in name or content, or where the files are too
            large to be read for it, in name, size or modification time.
        portable: the same for the same data on every machine: without the times, with the content
            of :data:`PROBES` files. Where all files are read, it is ``exact``.
    """

    exact: str
    portable: str


def identify(files: Sequence[tuple[str, Path]]) -> Identity:
    """Return digests of files.

    Args:
        files: with the name of each, which is the same wherever the data lies.
    """
    facts = [_size_and_time(path) for _, path in files]
    if sum(size for size, _ in facts) + _OPENING * len(files) <= CHEAP:
        digest = _by_content(files)
        return Identity(digest, digest)
    lines = [f"{name}\n{size}\n" for (name, _), (size, _) in zip(files, facts, strict=True)]
    probed = _by_content(files[:: max(1, len(files) // PROBES)])
    portable = _sha("".join(lines) + probed)
    return Identity(_sha(f"{portable} {facts}"), portable)


def stamp(path: Path) -> bytes:
    """Return what tells a file, as it is written now, from all others on this machine.

    It is empty where there is no such file.
    """
    try:
        found = os.stat(path)
    except OSError:
        return b""
    facts = f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} "
    return facts.encode() + os.fsencode(os.path.abspath(path))


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return -1, 0
    return found.st_size, found.st_mtime_ns


def _by_content(files: Sequence[tuple[str, Path]]) -> str:
    sha = hashlib.sha256()
    for name, path in files:
        try:
            content = path.read_bytes()
        except OSError:  # it is named where it is asked for
            content = b""
        sha.update(f"{name}\n{len(content)}\n".encode(errors="surrogateescape"))
        sha.update(content)
    return sha.hexdigest()


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
