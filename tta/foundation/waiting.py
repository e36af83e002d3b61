"""How long torch's threads wait for each other before they sleep.

OpenMP's threads spin for milliseconds between one parallel loop and the next. On a quiet machine
that is faster for small networks than to sleep at once; where other programs take the cores, it is
slower, and takes more cores from them (``benchmarks/busy.py`` measures both). How long they wait is
decided when torch is loaded. No figure depends on it: the number of threads, which decides how sums
are rounded, stays as it is.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

POLICY = "OMP_WAIT_POLICY"
CHOSEN = (POLICY, "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")
"""Variables by which users decide themselves."""
LOOK_SECONDS = 0.1
QUIET_CORES = 0.5
"""Of the cores' time, in cores, that others may take on a machine that counts as quiet."""


def choose_waiting() -> None:
    """Let threads sleep at once where other programs are at work just now.

    To be called before torch is imported; afterwards, and where a variable of :data:`CHOSEN` is
    set, it changes nothing. Looks for a tenth of a second; Linux alone tells.
    """
    if "torch" in sys.modules or any(name in os.environ for name in CHOSEN):
        return
    if busy_cores() > QUIET_CORES:
        os.environ[POLICY] = "passive"


def waiting() -> str:
    """Return what decides the waits, for records: ``OMP_WAIT_POLICY=passive``; else OpenMP's."""
    chosen = [f"{name}={os.environ[name]}" for name in CHOSEN if name in os.environ]
    return " ".join(chosen) or "default"


def busy_cores(seconds: float = LOOK_SECONDS) -> float:
    """Return how many cores other programs took within the next ``seconds``; 0 if not known."""
    before = _busy_ticks()
    time.sleep(seconds)
    return (_busy_ticks() - before) / (os.sysconf("SC_CLK_TCK") * seconds)


def _busy_ticks() -> int:
    """Return the time in ticks for which any core has worked since the machine started."""
    try:
        first, *_ = Path("/proc/stat").read_text().splitlines()
    except OSError:
        return 0
    user, nice, system, _idle, _waits_for_disk, *others = map(int, first.split()[1:9])
    return user + nice + system + sum(others)
