"""How much memory is free, and how many models that has room for."""

from __future__ import annotations

import itertools
import re
import sys
from pathlib import Path

import torch
from torch import nn

_MACHINE = Path("/proc/meminfo")
_CONTROL = Path("/sys/fs/cgroup")
_GROUP = (
    (_CONTROL / "memory.max", _CONTROL / "memory.current"),
    (_CONTROL / "memory/memory.limit_in_bytes", _CONTROL / "memory/memory.usage_in_bytes"),
)
MODELS_OF_A_METHOD = 8
"""Sizes of the source model: two copies, their gradient, an optimiser's two, the initial state."""
UNKNOWN_FREE = 2**32
"""Bytes taken to be free where the system does not tell."""


def bytes_of_a_method(backbone: nn.Module) -> int:
    """Return about how much a method around a model holds: copies, optimiser, its initial state."""
    tensors = itertools.chain(backbone.parameters(), backbone.buffers())
    return MODELS_OF_A_METHOD * sum(tensor.nbytes for tensor in tensors)


def free_bytes(device: torch.device) -> int:
    """Return what is free: of the GPU's memory, or of what this process may still take."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return min(_free_in_machine(), _free_in_group())


def _free_in_machine() -> int:
    try:
        found = re.search(r"MemAvailable:\s+(\d+)", _MACHINE.read_text())
    except OSError:
        found = None
    return int(found[1]) * 1024 if found else UNKNOWN_FREE


def _free_in_group() -> int:
    """Return what is left of a container's limit; files that are cached can be dropped."""
    for limit, taken in _GROUP:
        try:
            most, now = int(limit.read_text()), int(taken.read_text())
            cached = re.search(r"\binactive_file (\d+)", (taken.parent / "memory.stat").read_text())
        except (OSError, ValueError):  # no such file, or "max"
            continue
        return max(0, most - now + (int(cached[1]) if cached else 0))
    return sys.maxsize
