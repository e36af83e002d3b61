"""The file of a checkpoint, looked at without importing torch."""

from __future__ import annotations

from pathlib import Path

from tta.errors import UserError
from tta.inputs import is_file, is_folder


def checkpoint_file(path: str | Path) -> tuple[Path, bytes]:
    """Return the file of a checkpoint and its first bytes.

    Raises:
        UserError: it is missing, a folder, unreadable, empty or a web page.
    """
    path = Path(path).expanduser()
    if is_folder(path, "checkpoint"):
        raise UserError(f"checkpoint {path} is a directory; name the file in it")
    if not is_file(path, "checkpoint"):
        raise UserError(f"checkpoint {path} does not exist; check the path")
    try:
        with path.open("rb") as file:
            magic = file.read(64)
    except OSError as error:
        raise UserError(f"checkpoint {path} cannot be read: {error.strerror}") from error
    if not magic:
        raise UserError(f"checkpoint {path} is empty; download it again")
    if magic.lstrip().startswith(b"<"):
        raise UserError(
            f"checkpoint {path} is a web page, not weights: its download failed; "
            "download the file itself again"
        )
    return path, magic
