"""The most memory that a run held at once."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

with contextlib.suppress(ImportError):  # a command says so, see tta.foundation.system
    import resource

_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


class PeakMemory:
    """Follows the peak from its making on: of the device, or of the process on a CPU.

    On Linux the peak of the process is set back first, so that one of several runs in a process
    does not show what an earlier one held; elsewhere it is that of the whole process. On MPS,
    which keeps no peak, it is what the driver has given out, which is taken back rarely.

    Args:
        device: where the model runs.
        own: bytes that the run has taken before, and still holds.
        others: bytes that other runs have taken before.
    """

    def __init__(self, device: torch.device, own: int = 0, others: int = 0) -> None:
        self._device = device
        self._own, self._others = own, others
        self._greatest = self._left_at = 0
        self._is_away = False
        self._start()
        self._before = self.bytes()

    def _start(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        elif self._device.type == "mps":
            torch.mps.empty_cache()
        elif sys.platform == "linux":
            _set_back()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out what is held only meanwhile, such as snapshots that are no part of a method."""
        self._greatest = self.bytes()
        try:
            yield
        finally:
            self._start()

    def leave(self) -> None:
        """Leave out what is held from here on until :meth:`enter`: other runs have their turns."""
        if not self._is_away:
            self._greatest = self.bytes()
            self._left_at = held_bytes(self._device)
            self._is_away = True

    def enter(self) -> None:
        """Go on where the run was left; what has come meanwhile is held by others."""
        if self._is_away:
            self._others += held_bytes(self._device) - self._left_at
            self._is_away = False
            self._start()

    def rise(self) -> int:
        """Return by how many bytes the peak is above what was held before the run.

        What a process holds before a run depends on its past; this does not.
        """
        return self._own + self.bytes() - self._before

    def bytes(self) -> int:
        """Return the peak so far."""
        latest = 0 if self._is_away else self._latest() - self._others
        return max(self._greatest, latest)

    def _latest(self) -> int:
        """Return the peak since the latest start."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device)
        if self._device.type == "mps":
            return torch.mps.driver_allocated_memory()
        mark = _of_process("VmHWM:")
        if mark is not None:
            return mark
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def held_bytes(device: torch.device) -> int:
    """Return what is held now: on the device, or by the process; 0 where that cannot be told."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    if device.type == "mps":
        return torch.mps.current_allocated_memory()
    _trim()
    return _of_process("VmRSS:") or 0


def _trim() -> None:
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc keeps what was freed
        if trim is not None:
            trim(0)


def _set_back() -> None:
    _trim()
    try:
        _CLEAR.write_text("5")
    except OSError:  # a container that forbids it: the peak stays that of the whole process
        return


def _of_process(name: str) -> int | None:
    """Return a figure of the process in bytes, or None where the system does not tell.

    Args:
        name: ``VmHWM:``, the peak since it was set back, or ``VmRSS:``, what is held now.
    """
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    marks = [line.split()[1] for line in lines if line.startswith(name)]
    return int(marks[0]) * 1024 if marks else None
