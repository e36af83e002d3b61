"""What is computed once from source images, kept under the hash of all that it depends on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tta.foundation.pickles import pickles_are_safe
from tta.foundation.sealed import DamagedError, SealedFile, write_sealed


def cache_folder() -> Path:
    """Return ``$TTA_CACHE_DIR``, by default ``tta`` in the user's cache folder."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("TTA_CACHE_DIR") or Path(home, "tta"))


class Preparation(Protocol):
    """Where a method finds what it computes from source images, or leaves it."""

    def load(self) -> dict[str, Any] | None: ...

    def save(self, entry: dict[str, Any]) -> None: ...


@dataclass(frozen=True)
class KnownPreparation:
    """An entry that is at hand, such as that of a run which goes on.

    Attributes:
        entry: see :meth:`tta.methods.Method.preparation`.
    """

    entry: dict[str, Any]

    def load(self) -> dict[str, Any]:
        """Return the entry."""
        return self.entry

    def save(self, entry: dict[str, Any]) -> None:
        """Keep nothing: the entry is stored already."""


class PreparationCache:
    """One entry of the cache.

    Args:
        facts: everything that the entry depends on, as plain values.
    """

    def __init__(self, facts: dict[str, Any]) -> None:
        text = json.dumps(facts, sort_keys=True, default=str)
        self.key = hashlib.sha256(text.encode()).hexdigest()
        self.path = cache_folder() / "prepared" / f"{self.key}.pt"

    def load(self) -> dict[str, Any] | None:
        """Return the entry; None where there is none, or one that is not as it was written.

        A torch whose unpickler can be misled computes it again: the folder may be shared.
        """
        if not pickles_are_safe():
            return None
        try:
            file = SealedFile(self.path)
            return file.content("cpu") if file.facts.get("key") == self.key else None
        except (OSError, DamagedError):
            return None

    def save(self, entry: dict[str, Any]) -> None:
        """Write the entry; a folder that cannot be written costs the cache, not the run."""
        # torch's writer turns a full disk into a RuntimeError
        with contextlib.suppress(OSError, RuntimeError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_sealed(self.path, entry, {"key": self.key}, shared=True)
