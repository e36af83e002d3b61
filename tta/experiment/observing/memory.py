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
    does not show what an earlier one held; elsewhere it is that of the whole process.

    Args:
        device: where the model runs.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._greatest = 0
        self._start()
        self._before = self.bytes()

    def _start(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
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

    def rise(self) -> int:
        """Return by how many bytes the peak is above what was held at the start.

        What a process holds before a run depends on its past; this does not.
        """
        return self.bytes() - self._before

    def bytes(self) -> int:
        """Return the peak so far."""
        return max(self._greatest, self._latest())

    def _latest(self) -> int:
        """Return the peak since the latest start."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device)
        mark = _high_water_mark()
        if mark is not None:
            return mark
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def _set_back() -> None:
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc keeps what was freed
    if trim is not None:
        trim(0)
    try:
        _CLEAR.write_text("5")
    except OSError:  # a container that forbids it: the peak stays that of the whole process
        return


def _high_water_mark() -> int | None:
    """Return the peak in bytes since it was set back, or None where the system does not tell."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    marks = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(marks[0]) * 1024 if marks else None
