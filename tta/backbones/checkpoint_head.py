"""The first bytes of a checkpoint, looked at without importing torch."""

from __future__ import annotations

from pathlib import Path

from tta.backbones.foreign_files import HEAD_BYTES, refuse_foreign, refuse_unknown
from tta.foundation.errors import UserError
from tta.foundation.inputs import regular_file, shown_path

_TORCH = (b"PK\x03\x04", b"\x80")
_LONGEST_HEADER = 100_000_000  # bytes, as the format has it


def checkpoint_head(path: str | Path) -> tuple[Path, bytes]:
    """Return the path and the first bytes of a file that may be a checkpoint.

    Raises:
        UserError: the file is missing or unreadable, or neither safetensors nor of ``torch.save``.
    """
    path = regular_file(path, "checkpoint")
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise UserError(
            f"checkpoint {shown_path(path)} cannot be read: {error.strerror}"
        ) from error
    if not is_safetensors(head):
        refuse_foreign(path, head)
        if not head.startswith(_TORCH):
            refuse_unknown(path, head)
    return path, head


def is_safetensors(head: bytes) -> bool:
    """Return whether these are the first bytes of a safetensors file."""
    # A header's length, then the header, a JSON object.
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= _LONGEST_HEADER
