"""Many names in little memory, which processes share."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import numpy as np


class PackedNames(Sequence[str]):
    """File names as one array of bytes: a million of them are tens of megabytes.

    Args:
        names: whatever the file system allows.
    """

    def __init__(self, names: Iterable[str]) -> None:
        encoded = [os.fsencode(name) for name in names]
        self._bytes = np.frombuffer(b"".join(encoded), np.uint8)
        self._ends = np.cumsum([0, *map(len, encoded)])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, number: int) -> str:  # type: ignore[override]
        place = range(len(self))[number]
        start, stop = self._ends[place : place + 2].tolist()
        return os.fsdecode(self._bytes[start:stop].tobytes())
