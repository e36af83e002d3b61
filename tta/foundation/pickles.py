"""The one call of ``torch.load``, what it may raise, and where it can be trusted."""

from __future__ import annotations

import contextlib
import pickle
import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import torch

from tta.foundation.errors import WRONG_VALUES

SAFE_SINCE = (2, 10)
"""``weights_only=True`` ran code before torch 2.6 (CVE-2025-32434), and a pickle could corrupt
memory through it before 2.10 (CVE-2026-24747)."""

DAMAGE = (
    *WRONG_VALUES,
    ImportError,
    MemoryError,
    OSError,
    pickle.UnpicklingError,
    struct.error,
)
"""What :func:`load_pickle` raises on bytes that are no pickle of tensors, or a damaged one."""


def pickles_are_safe() -> bool:
    """Return whether this torch reads a stranger's pickle without doing what it says."""
    found = re.match(r"(\d+)\.(\d+)", torch.__version__)
    return found is not None and (int(found[1]), int(found[2])) >= SAFE_SINCE


def load_pickle(
    file: str | Path | IO[bytes],
    map_location: str,
    allowed: Sequence[type] = (),
) -> Any:
    """Return the tensors and plain values in a file of ``torch.save``; see :data:`DAMAGE`.

    Args:
        file: a path, or an open file.
        map_location: the device that all tensors come to.
        allowed: further types that may occur in it.
    """
    trusted = contextlib.nullcontext()
    if allowed:
        trusted = torch.serialization.safe_globals(list(allowed))
    with trusted:
        return torch.load(file, map_location=map_location, weights_only=True)
