"""One batch made ahead in a thread of this process, while the model works on the one before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Made = TypeVar("Made")


def one_ahead(load: Callable[[Item], Made], items: Iterable[Item]) -> Iterator[Made]:
    """Yield ``load(item)`` for items, in order; the next is made while one is in use.

    At most one result waits. What ``load`` raises is raised when its turn comes; a pass that is
    broken off waits for the item that is being made, and leaves the rest.

    Args:
        load: runs in another thread, with one thread of torch's own: the model keeps its own.
        items: are asked for here, one ahead.
    """
    pool = ThreadPoolExecutor(1, "images")
    try:
        _leave_the_model_its_threads(pool)
        waiting: Future[Made] | None = None
        for item in items:
            made, waiting = waiting, pool.submit(load, item)
            if made is not None:
                yield made.result()
        if waiting is not None:
            yield waiting.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _leave_the_model_its_threads(pool: ThreadPoolExecutor) -> None:
    """Give the pool's thread one thread of torch's, this one as many as it had.

    torch counts them by thread, but sets what later ones begin with beside it.
    """
    threads = torch.get_num_threads()
    pool.submit(_have_one_thread).result()
    torch.set_num_threads(threads)


def _have_one_thread() -> None:
    torch.get_num_threads()  # which gives this thread a number: without one, it would get it later
    torch.set_num_threads(1)
