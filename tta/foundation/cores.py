"""How many processor cores there are to use."""

from __future__ import annotations

import os

_SHARE: list[int] = []
"""Of this process, once it has been given one."""


def core_count() -> int:
    """Return the number of cores that this process may run on, at least 1.

    A batch system or a container may allow fewer than the machine has, and so may the parent of
    this process, see :func:`take_share`.
    """
    if hasattr(os, "sched_getaffinity"):
        there = len(os.sched_getaffinity(0))
    else:
        there = os.cpu_count() or 1
    return min(_SHARE[-1:] + [there])


def take_share(count: int) -> None:
    """Let this process count no more than ``count`` cores: others beside it have the rest."""
    _SHARE.append(max(1, count))
