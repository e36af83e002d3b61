"""Batches loaded ahead in worker processes, in order."""

from __future__ import annotations

import multiprocessing
import pickle
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as LoadedDataset

from tta.datasets.ahead import one_ahead
from tta.datasets.base import Dataset
from tta.datasets.sending import Sender
from tta.foundation.cores import core_count
from tta.foundation.errors import UserError, message_of
from tta.foundation.orphans import serve_parent

Item = TypeVar("Item")
Rows = tuple[np.ndarray, ...]
"""Of a batch's samples ``[B]``: number of the domain, severity, and index in the domain; where
images are moved also by how many pixels down and to the right ``[B, 2]``."""

MOST_WORKERS = 8
_NO_ROOM = ("shared memory", "/torch_")
"""In what torch says where there is none."""
_NOT_SENT = (AttributeError, TypeError, pickle.PicklingError, NotImplementedError)


class _Loads(LoadedDataset, Generic[Item]):
    """What workers are asked for; bad input comes back as a value, so that it keeps its words."""

    def __init__(self, load: Callable[[Item], Tensor]) -> None:
        self.load = load
        self._sender = Sender(load)

    def __getitem__(self, item: Item) -> Tensor | UserError:
        try:
            return self.load(item)
        except UserError as error:
            return error

    def __getstate__(self) -> bytes:
        return self._sender.dumps()

    def __setstate__(self, sent: bytes) -> None:
        try:
            self.load = pickle.loads(sent)  # noqa: S301 - from the process that started this one
        except OSError as error:  # a file that was to be mapped has gone
            self.load = partial(_refuse, f"{error.filename!r} cannot be read ({error.strerror})")
        except UserError as error:  # one's own file has changed, or gone
            self.load = partial(_refuse, message_of(error))


def _refuse(problem: str, _: object) -> Tensor:
    raise UserError(f"{problem}; put it back, and run again")


class _Order(Generic[Item]):
    """The items of the pass that is under way."""

    def __init__(self) -> None:
        self.items: Iterable[Item] = ()

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)


def _begin(_: int) -> None:
    serve_parent()


class Loader(Generic[Item]):
    """Yields ``load(item)`` for items, in order, loaded ahead in processes that outlive a pass.

    However processes are started here - forked, from a fork server, or anew - they get ``load`` as
    :class:`~tta.datasets.sending.Sender` writes it down, and after that only items.

    Args:
        load: must not depend on what was loaded before, so that results are the same for any
            number of workers.
        workers: processes, started at the first pass; 0 loads in this process, when the batch is
            asked for.
        pin: put what is loaded into page-locked memory, for copies to a GPU in the background.
        thread: without workers, load one batch ahead in a thread.
    """

    def __init__(
        self, load: Callable[[Item], Tensor], workers: int, pin: bool, thread: bool = False
    ) -> None:
        self.load, self.workers, self.pin, self.thread = load, workers, pin, thread
        self._order: _Order[Item] = _Order()
        self._loader: DataLoader | None = None
        self._batches: Any = None
        self._current: object | None = None  # stands for the pass that is under way

    def __call__(self, items: Iterable[Item]) -> Iterator[Tensor]:
        """Yield ``load(item)`` for every item; they may be without end.

        Passes may be broken off; one that begins while another lasts has processes of its own.

        Raises:
            UserError: bad input that ``load`` met, a worker was killed, or none can be started.
        """
        if self.workers == 0:
            yield from (one_ahead if self.thread else map)(self._load_here, items)
        elif self._current is not None:
            yield from load_ahead(self.load, items, self.workers, self.pin)
        else:
            one = self._current = object()
            try:
                yield from self._pass(items, one)
            finally:
                if self._current is one:
                    self._current = None

    def _load_here(self, item: Item) -> Tensor:
        return self.load(item).pin_memory() if self.pin else self.load(item)

    def _pass(self, items: Iterable[Item], one: object) -> Iterator[Tensor]:
        self._order.items = items
        self._start()
        while True:
            if self._current is not one:
                raise RuntimeError("the loader was closed while a pass was under way")
            try:
                batch = next(self._batches)
            except StopIteration:
                return
            except RuntimeError as error:
                if not str(error).startswith("DataLoader worker"):  # else raised in one
                    raise
                raise UserError(_why_killed()) from error
            if isinstance(batch, UserError):
                raise batch
            yield batch

    def _start(self) -> None:
        """Let the processes begin a pass; they drop what is left of another."""
        if self._loader is None:
            # A generator of its own: the loader would draw a seed from the global one.
            self._loader = DataLoader(
                _Loads(self.load),
                batch_size=None,
                sampler=self._order,
                num_workers=self.workers,
                pin_memory=self.pin,
                generator=torch.Generator(),
                worker_init_fn=_begin,
                persistent_workers=True,
            )
        try:
            with warnings.catch_warnings():  # the error below says it
                warnings.filterwarnings("ignore", "Got pickle error")
                self._batches = iter(self._loader)
        except _NOT_SENT as error:
            raise UserError(
                f"the data set cannot be sent to loading processes ({error}); pass --workers 0, "
                "or let it hold no local functions and open files"
            ) from error
        except RuntimeError as error:
            if not any(words in str(error) for words in _NO_ROOM):
                raise
            raise UserError(_why_killed()) from error

    def close(self) -> None:
        """End the processes; a later pass starts others."""
        self._current = self._batches = self._loader = (
            None  # torch's loader ends them when nobody knows it any more
        )

    def __enter__(self) -> Loader[Item]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _why_killed() -> str:
    words = (
        "a loading process was killed or could not start, for lack of memory or of shared memory "
        "(/dev/shm); pass a smaller --workers, or 0 to load in the main process"
    )
    if multiprocessing.get_start_method() == "fork":
        return words
    return f"{words}; a program of one's own must begin below `if __name__ == '__main__':`"


def load_ahead(
    load: Callable[[Item], Tensor], items: Iterable[Item], workers: int, pin: bool
) -> Iterator[Tensor]:
    """Yield what a :class:`Loader` does, whose processes end with the pass."""
    with Loader(load, workers, pin) as loader:
        yield from loader(items)


def image_loader(dataset: Dataset, names: tuple[str, ...], workers: int, pin: bool) -> Loader[Rows]:
    """Return what loads batches of a data set, as :meth:`Dataset.gather` gives them.

    Without workers, costly images are made one batch ahead in a thread, where torch's threads leave
    a core for it: beside a model that takes every core, it would hold that up by more than it makes
    (benchmarks/images_ahead.py).

    Args:
        dataset: the whole of what processes are sent.
        names: of the domains that rows number.
        workers: see :class:`Loader`.
        pin: see :class:`Loader`.
    """
    thread = dataset.costly and torch.get_num_threads() < core_count()
    return Loader(partial(_gather, dataset, names), workers, pin, thread)


def _gather(dataset: Dataset, names: tuple[str, ...], rows: Rows) -> Tensor:
    return dataset.gather(names, *rows)


def default_workers(costly: bool, device: torch.device, pools: int = 1) -> int:
    """Return the number of workers: none where images cost nothing or the model runs on the CPU.

    There, the model's own threads take every core.

    Args:
        costly: see :class:`~tta.datasets.base.Dataset`.
        device: where the model runs.
        pools: how many sets of workers share the cores.
    """
    if not costly or device.type == "cpu":
        return 0
    return min(MOST_WORKERS, max(1, core_count() // pools))
