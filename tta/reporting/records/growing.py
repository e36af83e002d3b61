"""Tables that grow while a run streams, and what proves that their rows are the run's own."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tta.foundation.errors import UserError
from tta.foundation.files import open_growing, prefix_sha256


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses into a :class:`UserError` that names ``path``."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot write {str(path)!r} ({error.strerror}); what was written before is kept: "
            "make room or choose another --output, then pass --resume to go on"
        ) from error


class GrowingTable:
    """A file that rows are appended to, with the digest of what it holds.

    Args:
        path: the file; a link to some other file is neither followed nor written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._sha256 = hashlib.sha256()
        self._bytes = 0

    def start_over(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)
        self._sha256, self._bytes = hashlib.sha256(), 0

    def append(self, rows: str) -> None:
        """Append lines.

        Raises:
            UserError: the disk is full, or the file cannot be written.
        """
        data = rows.encode("utf-8")
        with writing(self.path), open_growing(self.path) as file:
            file.write(data)
        self._sha256.update(data)
        self._bytes += len(data)

    def digest(self) -> str:
        """Return the SHA-256 of all rows."""
        return self._sha256.hexdigest()

    def sync(self) -> dict[str, Any]:
        """Bring the rows to the disk; return what :meth:`check` takes."""
        with writing(self.path), open_growing(self.path) as file:
            os.fsync(file.fileno())
        return {"bytes": self._bytes, "sha256": self.digest()}

    def check(self, saved: dict[str, Any]) -> None:
        """Refuse a file that does not begin with the rows it had when ``saved`` was made.

        Raises:
            UserError: rows are lost or altered, or the file is none of the run's own.
        """
        if not _is_plain_file(self.path) or self.path.stat().st_size < saved["bytes"]:
            raise self._refusal("has lost rows that this run had written")
        with self.path.open("rb") as file:
            self._sha256 = prefix_sha256(file, saved["bytes"])
        self._bytes = saved["bytes"]
        if self.digest() != saved["sha256"]:
            raise self._refusal("is damaged: its rows are not those that this run had written")

    def _refusal(self, fault: str) -> UserError:
        return UserError(
            f"{str(self.path)!r} {fault}; put the file back, or pass --force to start over"
        )

    def cut_back(self) -> None:
        """Remove what the file holds beyond the rows that :meth:`check` has seen."""
        with writing(self.path), open_growing(self.path) as file:
            file.truncate(self._bytes)


def _is_plain_file(path: Path) -> bool:
    return path.exists() and stat.S_ISREG(path.lstat().st_mode)
