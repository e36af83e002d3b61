"""How many processor cores there are to use."""

from __future__ import annotations

import os


def core_count() -> int:
    """Return the number of cores that this process may run on, at least 1.

    A batch system or a container may allow fewer than the machine has.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
