"""Files of saved state: tensors and plain values, with what proves them whole and one's own."""

from __future__ import annotations

import hashlib
import io
import json
import os
from pathlib import Path
from typing import IO, Any

import torch

from tta.errors import UserError
from tta.files import written_aside
from tta.pickles import DAMAGE, load_pickle

FORMAT = 1
TRAILER_BYTES = 1024
"""The trailer, one line of JSON at the end of the file, is shorter than this."""


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


def write_state(path: Path, state: dict[str, Any], fingerprint: str) -> None:
    """Write ``state`` so that a reader finds the old file or the new, never a part.

    Args:
        path: the file; its folder must exist.
        state: tensors and plain values only.
        fingerprint: of the run that the state belongs to.

    Raises:
        UserError: the disk is full or cannot be written; the old file is left as it was.
    """
    try:
        with written_aside(path) as aside, aside.open("wb") as file:
            hashed = _Hashed(file)
            torch.save(state, hashed)
            file.write(_trailer(fingerprint, hashed.sha256.hexdigest()))
            file.flush()
            os.fsync(file.fileno())
        _sync_folder(path.parent)
    except (OSError, RuntimeError) as error:  # torch's writer turns a full disk into the latter
        reason = error if isinstance(error, OSError) else error.__context__ or error
        raise UserError(
            f"cannot write {str(path)!r} ({reason}); the run can go on from its latest checkpoint: "
            "make room, then pass --resume"
        ) from error


def _sync_folder(folder: Path) -> None:
    """Let the new name survive a power cut, before anything is built on it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _trailer(fingerprint: str, digest: str) -> bytes:
    facts = {
        "format": FORMAT,
        "fingerprint": fingerprint,
        "torch": torch.__version__,
        "sha256": digest,
    }
    return b"\n" + json.dumps(facts).encode()


def read_state(path: Path, fingerprint: str) -> dict[str, Any]:
    """Return what :func:`write_state` wrote, with every tensor on the device it was on.

    Raises:
        UserError: the file is missing, damaged, of another run or of another version.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"cannot read {str(path)!r} ({error.strerror}); it is needed to resume this run: put "
            "it back, or pass --force to start over"
        ) from error
    end = content.rfind(b"\n", max(0, len(content) - TRAILER_BYTES))
    facts = _facts(content[end + 1 :])
    if facts is None:
        raise _refusal(path, "is damaged: its end is missing")
    if facts.get("format") != FORMAT:
        raise _refusal(path, "was written by another version of this package")
    if facts.get("fingerprint") != fingerprint:
        raise _refusal(path, f"belongs to the run {facts.get('fingerprint')}, not to {fingerprint}")
    if facts.get("torch") != torch.__version__:
        written = f"torch {facts.get('torch')}, and this is {torch.__version__}"
        raise _refusal(path, f"was written with {written}: figures may round otherwise")
    return _payload(path, memoryview(content)[: max(end, 0)], facts.get("sha256"))


def _facts(trailer: bytes) -> dict[str, Any] | None:
    try:
        facts = json.loads(trailer)
    except ValueError:
        return None
    return facts if isinstance(facts, dict) else None


def _payload(path: Path, content: memoryview, digest: str | None) -> dict[str, Any]:
    if hashlib.sha256(content).hexdigest() != digest:
        raise _refusal(path, "is damaged: its contents do not match their SHA-256")
    try:
        return load_pickle(io.BytesIO(content))  # the digest has proved it one's own
    except DAMAGE as error:
        raise _refusal(path, f"cannot be read ({error})") from error


def _refusal(path: Path, fault: str) -> UserError:
    return UserError(
        f"{str(path)!r} {fault}; nothing has been changed: put the right file back, or pass "
        "--force to start over"
    )
