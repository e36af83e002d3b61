"""Where data lies: checked without importing torch, before anything is read."""

from __future__ import annotations

import os
from pathlib import Path

from tta.foundation.errors import UserError
from tta.foundation.inputs import is_file, is_folder


def array_file(path: str) -> Path:
    """Return the file of ``arrays:PATH``.

    Raises:
        UserError: there is none.
    """
    if not is_file(path, "arrays:PATH"):
        raise UserError(f"no file {path!r}; arrays:PATH names an .npz file that exists")
    return Path(path)


def image_folder(path: str) -> Path:
    """Return the folder of ``folder:PATH``.

    Raises:
        UserError: there is none.
    """
    if not is_folder(path, "folder:PATH"):
        raise UserError(f"no folder {path!r}; name one that exists")
    return Path(path)


def data_folder(data_dir: str | Path | None) -> Path:
    """Return the folder of published data sets: ``data_dir``, by default ``$TTA_DATA_DIR``.

    Raises:
        UserError: neither is given, or there is no such folder.
    """
    folder = optional_data_folder(data_dir)
    if folder is None:
        raise UserError(
            "published data sets are read from a folder; pass --data-dir DIR or set TTA_DATA_DIR"
        )
    return folder


def optional_data_folder(data_dir: str | Path | None) -> Path | None:
    """Return the same folder, or None where none is given.

    Raises:
        UserError: there is no such folder.
    """
    folder = data_dir or os.environ.get("TTA_DATA_DIR")
    if not folder:
        return None
    if not is_folder(folder, "--data-dir"):
        raise UserError(
            f"no folder {str(folder)!r}; pass the folder of the data sets as --data-dir, or set "
            "TTA_DATA_DIR"
        )
    return Path(folder)
