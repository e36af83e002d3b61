"""Processes that were started to help end with the one that they help, however that ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time

LOOK_INTERVAL = 0.5
"""Seconds between two looks at whether the parent lives."""
GRACE = 15.0
"""Seconds that a process has to come to its end by itself, once it was asked to."""


def is_orphan() -> bool:
    """Return whether the process that started this one, by :mod:`multiprocessing`, has ended."""
    parent = multiprocessing.parent_process()
    return parent is not None and not parent.is_alive()


def end_with_parent(grace: float = 0.0) -> None:
    """Watch the parent from a thread, and end this process soon after it.

    Args:
        grace: seconds between SIGTERM, which this process is sent then, and its end.
    """
    threading.Thread(target=_watch, args=(grace,), daemon=True).start()


def _watch(grace: float) -> None:
    # Of a fork server's children the server is the parent here; of forked ones, those that were
    # forked later hold open what tells :mod:`multiprocessing` that the parent has ended.
    starter = os.getppid()
    while os.getppid() == starter and not is_orphan():
        time.sleep(LOOK_INTERVAL)
    if grace:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(grace)
    os._exit(1)


def serve_parent() -> None:
    """Leave signals to the parent, which ends this process when it needs it no more.

    A terminal sends Ctrl-C, and a batch system SIGTERM, to helpers too: those that ended at once
    would leave the parent no time to finish what it needs them for.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end_later)
    end_with_parent()


def _end_later(*_: object) -> None:
    timer = threading.Timer(GRACE, os._exit, (0,))
    timer.daemon = True
    timer.start()
