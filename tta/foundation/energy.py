"""Energy that a machine has taken, where its counters can be read."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

POWERCAP = Path("/sys/class/powercap")
"""Where Linux shows the counters of Intel's and AMD's processors (RAPL)."""


class EnergyMeter:
    """Energy since its making: of the processor packages, or of the GPU that is used.

    A GPU's counter is read through NVML where the package pynvml (nvidia-ml-py) is installed.
    What else runs on the machine is in it.

    Args:
        device: where the model runs, such as ``cpu`` or ``cuda:1``.
        folder: of the processors' counters.
    """

    def __init__(self, device: str, folder: Path = POWERCAP) -> None:
        self._read = _gpu_reader(device) if device.startswith("cuda") else _cpu_reader(folder)
        self._start = self._read() if self._read else None

    def joules(self) -> float | None:
        """Return the energy so far, or None where no counter can be read."""
        if self._read is None or self._start is None:
            return None
        now = self._read()
        if now is None:
            return None
        pairs = zip(self._start, now, strict=True)
        return sum((stop - start) % turn for (start, turn), (stop, _) in pairs)


Reader = Callable[[], list[tuple[float, float]] | None]
"""Gives, of each counter, joules and at how many it begins anew; None where it cannot."""


def _cpu_reader(folder: Path) -> Reader | None:
    packages = sorted(folder.glob("intel-rapl:[0-9]"))

    def read() -> list[tuple[float, float]] | None:
        try:
            return [_package(package) for package in packages]
        except (OSError, ValueError):  # readable by root alone on most systems
            return None

    return read if packages else None


def _package(folder: Path) -> tuple[float, float]:
    names = ("energy_uj", "max_energy_range_uj")
    energy, turn = (float((folder / name).read_text()) / 1e6 for name in names)
    return energy, turn


def _gpu_reader(device: str) -> Reader | None:
    try:
        nvml: Any = importlib.import_module("pynvml")
        nvml.nvmlInit()
        handle = nvml.nvmlDeviceGetHandleByIndex(int(device.partition(":")[2] or 0))
        nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except (ImportError, RuntimeError, OSError, ValueError, AttributeError):
        return None
    except Exception as error:  # NVML's own, which no other class is above
        if type(error).__module__ != "pynvml":
            raise
        return None
    return lambda: [(nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000, float("inf"))]
