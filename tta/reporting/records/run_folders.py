"""Folders of runs that a user names, looked at before anything that takes long is imported."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tta.foundation.errors import UserError
from tta.foundation.inputs import is_folder


def no_run(path: Path) -> UserError:
    """Return the error of a path that holds no run."""
    return UserError(f"{str(path)!r} holds no run; name a folder that tta.run has written to")


def check_run_folders(paths: Sequence[Path]) -> None:
    """Refuse what is no folder.

    Raises:
        UserError: a path that is none, or cannot be looked at.
    """
    for path in paths:
        if not is_folder(path, "run"):
            raise no_run(path)
