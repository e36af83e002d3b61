"""Timing side by side, peak memory, and what the figures were made on."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

CPU_FEATURES = ("avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16")
MIB = 2**20


@dataclass(frozen=True)
class Target:
    """A figure beside the most that it may be.

    Attributes:
        what: is measured.
        at_most: the target.
        measured: the figure; None where it could not be measured here.
        unit: of both; empty for a ratio.
        note: how it was measured, or why it was not.
    """

    what: str
    at_most: float
    measured: float | None
    unit: str = ""
    note: str = ""

    @property
    def verdict(self) -> str:
        """``met``, ``missed`` or ``not measured``."""
        if self.measured is None:
            return "not measured"
        return "met" if self.measured <= self.at_most else "missed"

    def row(self) -> list[str]:
        """Return the line of the table."""
        shown = "" if self.measured is None else f"{self.measured:.3g} {self.unit}".strip()
        bound = f"{self.at_most:g} {self.unit}".strip()
        return [self.what, bound, shown, self.verdict, self.note]


Samples = dict[str, list[float]]


def interleave(
    contenders: Mapping[str, Callable[[], Any]],
    rounds: int = 7,
    *,
    seconds: float = 60.0,
    clock: Callable[[], float] = time.perf_counter,
) -> Samples:
    """Return the seconds of every contender in every round, after a round that is not counted.

    The order rotates, so that a disturbance of the machine does not always hit the same one.

    Args:
        contenders: what to call, by name.
        rounds: at most.
        seconds: no round begins after this long, but one is always made.
        clock: wall clock, or ``time.process_time`` for the work of one core.
    """
    names = list(contenders)
    samples: Samples = {name: [] for name in names}
    started = time.perf_counter()
    for number in range(rounds + 1):
        if number > 1 and time.perf_counter() - started > seconds:
            break
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            before = clock()
            contenders[name]()
            samples[name].append(clock() - before)
    return {name: taken[1:] for name, taken in samples.items()}


def ratio(samples: Samples, name: str, base: str) -> float:
    """Return the median over rounds of the time of ``name`` relative to that of ``base``."""
    return median(a / b for a, b in zip(samples[name], samples[base], strict=True))


def peak_memory(call: Callable[[], Any]) -> float | None:
    """Return by how many MiB resident memory rises at most during ``call``.

    Call it once before, so that caches that stay are filled. None where the system does not tell
    (only Linux does).
    """
    with PeakWatch() as watch:
        call()
    return None if watch.rise is None else watch.rise / MIB


def resident_bytes() -> int:
    """Return the resident memory of this process; Linux."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class PeakWatch:
    """Samples resident memory from a thread every millisecond: torch releases the GIL.

    Args:
        before: resident bytes that count as none; by default what is left after freed memory has
            been given back.

    Attributes:
        before: the same.
        rise: greatest rise in bytes; None where the system does not tell.
    """

    def __init__(self, before: int | None = None) -> None:
        self.before = before
        self.rise: int | None = None

    def __enter__(self) -> PeakWatch:
        if not Path("/proc/self/statm").exists():
            return self
        if self.before is None:
            ctypes.CDLL(None).malloc_trim(0)
            self.before = resident_bytes()
        self.rise = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.rise is not None:
            self._done.set()
            self._thread.join()

    def _sample(self) -> None:
        while not self._done.wait(0.001):
            self.rise = max(self.rise, resident_bytes() - self.before)


def machine() -> str:
    """Return the machine in a line: processor, what it can do, cores, memory, versions."""
    model, flags = _processor()
    features = [name for name in CPU_FEATURES if name in flags]
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return (
        f"{model} ({', '.join(features) or 'features unknown'}), {os.cpu_count()} cores, "
        f"{memory:.0f} GiB memory; {platform.system()}, Python {platform.python_version()}, "
        f"torch {torch.__version__}, {torch.get_num_threads()} threads"
    )


def has_amx() -> bool:
    """Return whether the processor multiplies bfloat16 matrices in tiles (AMX)."""
    return "amx_bf16" in _processor()[1]


def _processor() -> tuple[str, frozenset[str]]:
    if sys.platform != "linux":
        return platform.processor() or platform.machine(), frozenset()
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    facts = {key.strip(): value.strip() for key, _, value in (x.partition(":") for x in lines)}
    return facts.get("model name", platform.machine()), frozenset(facts.get("flags", "").split())
