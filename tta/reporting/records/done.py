"""The mark of a finished run: digests of its files, so that altered ones are not taken for it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

DONE_FILE = "done"
FORMAT = 1


def done_text(digests: Mapping[str, str]) -> str:
    """Return what the mark holds.

    Args:
        digests: SHA-256 of the run's files, in hexadecimal, by file name.
    """
    return json.dumps({"format": FORMAT, "sha256": dict(sorted(digests.items()))}, indent=2) + "\n"


def find_damage(path: Path, names: tuple[str, ...]) -> str:
    """Return which file of a finished run is not as the run left it; empty where all are.

    A mark without digests, as earlier versions left it, is damage too: nobody can tell.

    Args:
        path: the run directory; one without the mark is not finished, and has no such damage.
        names: files that a run may have.
    """
    mark = path / DONE_FILE
    try:
        if not mark.exists():
            return ""
        if not mark.is_file():
            return f"{str(mark)!r} is no file"
        digests = _digests(mark.read_bytes())
        if digests is None:
            return f"{str(mark)!r} holds no digests: an earlier version wrote it, or it is damaged"
        for name in names:
            fault = _fault(path / name, digests.get(name))
            if fault:
                return f"{str(path / name)!r} {fault}"
    except OSError as error:
        return f"{str(path)!r} cannot be read ({error.strerror})"
    return ""


def _digests(content: bytes) -> dict[str, Any] | None:
    try:
        mark = json.loads(content)
    except (ValueError, RecursionError):
        return None
    digests = mark.get("sha256") if isinstance(mark, dict) else None
    return digests if isinstance(digests, dict) else None


def _fault(file: Path, digest: Any) -> str:
    if not file.exists():
        return "" if digest is None else "is missing"
    if digest is None:
        return "is not of this run"
    if not file.is_file():
        return "is no file"
    if hashlib.sha256(file.read_bytes()).hexdigest() != digest:
        return "is not as its run left it: its SHA-256 is another"
    return ""
