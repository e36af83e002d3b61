"""Energy that a machine has taken, where its counters can be read."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

POWERCAP = Path("/sys/class/powercap")
"""Where Linux shows the counters of Intel's and AMD's processors (RAPL)."""
Counter = tuple[float, float]
"""Joules, and at how many the counter begins anew."""
Name = Callable[[], str | None]
Reader = Callable[[], list[Counter]]


class EnergyMeter:
    """Energy since its making: of the processor packages, or of the GPU that is used.

    A GPU's counter is read through NVML where the package pynvml (nvidia-ml-py) is installed.
    What else runs on the machine is in it. To be read every few minutes: counters of processors
    begin anew.

    Args:
        gpu: gives the GPU's name as NVML has it, or None; it is asked where NVML is there. None
            for the processors.
        folder: of the processors' counters.

    Attributes:
        joules: so far; None where no counter can be read, or one could not be.
    """

    def __init__(self, gpu: Name | None = None, folder: Path = POWERCAP) -> None:
        self._reader = _packages(folder) if gpu is None else _gpu(gpu)
        self._latest = self._counters()
        self.joules: float | None = None if self._latest is None else 0.0

    def read(self) -> None:
        """Add what was taken since the last time."""
        now, before = self._counters(), self._latest
        if self.joules is None or now is None or before is None:
            self.joules = None
            return
        pairs = zip(before, now, strict=True)
        self.joules += sum((stop - start) % turn for (start, turn), (stop, _) in pairs)
        self._latest = now

    def _counters(self) -> list[Counter] | None:
        if self._reader is None:
            return None
        try:
            return self._reader()
        except (OSError, ValueError):  # readable by root alone on most systems
            return None


def _packages(folder: Path) -> Reader | None:
    found = [one for one in sorted(folder.glob("intel-rapl:[0-9]*")) if _is_package(one)]
    return (lambda: [_counter(package) for package in found]) if found else None


def _is_package(folder: Path) -> bool:
    """Return whether a domain is a package; psys holds them, and parts are within."""
    try:
        return (folder / "name").read_text().startswith("package-")
    except OSError:
        return False


def _counter(folder: Path) -> Counter:
    names = ("energy_uj", "max_energy_range_uj")
    energy, turn = (float((folder / name).read_text()) / 1e6 for name in names)
    return energy, turn


def _gpu(name: Name) -> Reader | None:
    try:
        nvml: Any = importlib.import_module("pynvml")
    except ImportError:
        return None
    uuid = name()
    if uuid is None:
        return None

    def read() -> list[Counter]:
        try:
            handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
            return [(nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000, float("inf"))]
        except nvml.NVMLError as error:
            raise OSError(str(error)) from error

    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return None
    return read
