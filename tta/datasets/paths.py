"""Paths that a user names."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from tta.errors import UserError


def existing_folder(path: str | Path, cure: str) -> Path:
    """Return the path of a folder.

    Args:
        path: as the user wrote it.
        cure: what to do where there is none.

    Raises:
        UserError: it is missing, no folder, or cannot be looked at.
    """
    return _existing(path, "folder", stat.S_ISDIR, cure)


def existing_file(path: str | Path, cure: str) -> Path:
    """Return the path of a regular file; see :func:`existing_folder`."""
    return _existing(path, "file", stat.S_ISREG, cure)


def _existing(path: str | Path, kind: str, is_kind: Callable[[int], bool], cure: str) -> Path:
    try:
        found = is_kind(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        found = False
    except (OSError, ValueError) as error:  # ValueError: a NUL, or what no file name can hold
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{kind} {str(path)!r} cannot be looked at ({reason}); {cure}") from error
    if not found:
        raise UserError(f"no {kind} {str(path)!r}; {cure}")
    return Path(path)
