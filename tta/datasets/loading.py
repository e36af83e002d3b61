"""Batches loaded ahead in worker processes, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tta.foundation.cores import core_count
from tta.foundation.errors import UserError
from tta.foundation.orphans import serve_parent

Item = TypeVar("Item")

MOST_WORKERS = 8


class _Batches(Dataset, Generic[Item]):
    """What workers are asked for; bad input comes back as a value, so that it keeps its words."""

    def __init__(self, load: Callable[[Item], Tensor], items: Sequence[Item]) -> None:
        self.load = load
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, number: int) -> Tensor | UserError:
        try:
            return self.load(self.items[number])
        except UserError as error:
            return error


def _begin(_: int) -> None:
    serve_parent()


def load_ahead(
    load: Callable[[Item], Tensor], items: Sequence[Item], workers: int, pin: bool
) -> Iterator[Tensor]:
    """Yield ``load(item)`` for every item, in order.

    Args:
        load: must not depend on what was loaded before, so that results are the same for any
            number of workers.
        items: one per batch.
        workers: processes that load ahead, started once for all items; 0 loads in this process,
            when the batch is asked for.
        pin: put what is loaded into page-locked memory, for copies to a GPU in the background.

    Raises:
        UserError: bad input that ``load`` met, or a worker was killed.
    """
    if workers == 0:
        for item in items:
            yield load(item).pin_memory() if pin else load(item)
        return
    # A generator of its own: the loader would draw a seed from the global one.
    batches = iter(
        DataLoader(
            _Batches(load, items),
            batch_size=None,
            num_workers=min(workers, max(1, len(items))),
            pin_memory=pin,
            generator=torch.Generator(),
            worker_init_fn=_begin,
        )
    )
    for _ in items:
        try:
            batch = next(batches)
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise UserError(
                "a loading process was killed, for lack of memory or of shared memory "
                "(/dev/shm); pass a smaller --workers, or 0 to load in the main process"
            ) from error
        if isinstance(batch, UserError):
            raise batch
        yield batch


def default_workers(costly: bool, device: torch.device) -> int:
    """Return the number of workers: none where images cost nothing or the model runs on the CPU.

    There, the model's own threads take every core.
    """
    if not costly or device.type == "cpu":
        return 0
    return min(MOST_WORKERS, core_count())
