"""One batch made ahead in a thread of this process, while the model works on the one before."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import torch

Item = TypeVar("Item")
Made = TypeVar("Made")
_END_SECONDS = 5.0
"""That the end of a thread may take, where nothing else goes on in it."""


def one_ahead(load: Callable[[Item], Made], items: Iterable[Item]) -> Iterator[Made]:
    """Yield ``load(item)`` for items, in order; the next is made while one is in use.

    At most one result waits. What ``load`` raises is raised when its turn comes; a pass that is
    broken off waits for the item that is being made, and leaves the rest.

    Args:
        load: runs in another thread, with one thread of torch's own: the model keeps its own.
        items: are asked for here, one ahead.
    """
    pool = ThreadPoolExecutor(1, "images")
    thread = _leave_the_model_its_threads(pool)
    try:
        waiting: Future[Made] | None = None
        for item in items:
            made, waiting = waiting, pool.submit(load, item)
            if made is not None:
                yield made.result()
        if waiting is not None:
            yield waiting.result()
    finally:
        pool.shutdown(cancel_futures=True)
        _await_end(thread)


def _leave_the_model_its_threads(pool: ThreadPoolExecutor) -> int:
    """Give the pool's thread one thread of torch's, this one as many as it had; return its id.

    torch counts them by thread, but sets what later ones begin with beside it.
    """
    threads = torch.get_num_threads()
    thread = pool.submit(_have_one_thread).result()
    torch.set_num_threads(threads)
    return thread


def _have_one_thread() -> int:
    torch.get_num_threads()  # which gives this thread a number: without one, it would get it later
    torch.set_num_threads(1)
    return threading.get_native_id()


def _await_end(thread: int) -> None:
    """Wait until the system, too, has ended a thread that Python has joined.

    As a thread ends, MKL gives back its memory under locks of all threads. A process that is forked
    meanwhile finds them taken, and waits for ever in its first product of matrices. Python joins
    the system's thread from 3.13 on; where /proc does not tell, processes are not forked.
    """
    task, deadline = Path(f"/proc/self/task/{thread}"), time.monotonic() + _END_SECONDS
    while task.exists() and time.monotonic() < deadline:
        time.sleep(0.001)
