"""Files of a run's saved state, which belong to one run and to what made its figures."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tta.foundation.arithmetic import difference
from tta.foundation.errors import UserError
from tta.foundation.sealed import DamagedError, SealedFile, write_sealed

FORMAT = 2


def write_state(
    path: Path,
    state: dict[str, Any],
    fingerprint: str,
    made_with: Mapping[str, Any] | None = None,
    position: int | None = None,
) -> None:
    """Write ``state`` so that a reader finds the old file or the new, never a part.

    Args:
        path: the file; its folder must exist.
        state: tensors and plain values only.
        fingerprint: of the run that the state belongs to.
        made_with: see :func:`tta.foundation.arithmetic.arithmetic`.
        position: of the next image in the stream, for :func:`position_of`.

    Raises:
        UserError: the disk is full or cannot be written; the old file is left as it was.
    """
    facts = {
        "format": FORMAT,
        "fingerprint": fingerprint,
        "made_with": dict(made_with or {}),
        "position": position,
    }
    try:
        write_sealed(path, state, facts)
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


def read_state(
    path: Path, fingerprint: str, made_with: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return what :func:`write_state` wrote, with every tensor in host memory.

    Raises:
        UserError: the file is missing, damaged, of another run or of another version, or was
            made with what rounds otherwise.
    """
    try:
        file = SealedFile(path)
        _check_facts(path, file.facts, fingerprint, made_with or {})
        return file.content("cpu")
    except OSError as error:
        raise UserError(
            f"cannot read {str(path)!r} ({error.strerror}); it is needed to resume this run: put "
            "it back, or pass --force to start over"
        ) from error
    except DamagedError as error:
        raise refusal(path, str(error)) from error


def _check_facts(
    path: Path, facts: Mapping[str, Any], fingerprint: str, made_with: Mapping[str, Any]
) -> None:
    if facts.get("format") != FORMAT:
        raise refusal(path, "was written by another version of this package")
    if facts.get("fingerprint") != fingerprint:
        raise refusal(path, f"belongs to the run {facts.get('fingerprint')}, not to {fingerprint}")
    unlike = difference(facts.get("made_with"), made_with)
    if unlike:
        what, cure = unlike
        raise UserError(
            f"{str(path)!r} was made with {what}: figures may round otherwise; nothing has been "
            f"changed: {cure}, or pass --force to start over"
        )


def position_of(path: Path) -> int | None:
    """Return the stream position that a checkpoint holds; None where that cannot be told."""
    try:
        position = SealedFile(path).facts.get("position")
    except (OSError, DamagedError):
        return None
    return position if isinstance(position, int) else None


def refusal(path: Path, fault: str) -> UserError:
    """Return the error of a file that is needed to go on, and is not as it was written."""
    return UserError(
        f"{str(path)!r} {fault}; nothing has been changed: put the right file back, or pass "
        "--force to start over"
    )
