"""The only loop over a test stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from torch import Tensor

from tta.streams.stream import Batch


class Adapter(Protocol):
    """What the loop asks of a method."""

    def step(self, images: Tensor) -> Tensor: ...

    def reset(self) -> None: ...

    def count(self) -> Tensor | None: ...


class Observer(Protocol):
    """Sees every batch's outputs; must not synchronise with the device."""

    def update(self, batch: Batch, outputs: Tensor, counted: Tensor | None) -> None: ...


def evaluate(
    method: Adapter,
    stream: Iterable[Batch],
    observer: Observer,
    guard: Callable[[Tensor], bool] = lambda outputs: True,
) -> bool:
    """Stream every batch through ``method`` once, in order, and show its outputs to ``observer``.

    Args:
        method: prepared by ``start()``; sees images alone.
        stream: the test stream, or what is left of it.
        observer: counts, records and displays.
        guard: sees outputs first, may reset the method, and says whether the stream goes on
            after this batch.

    Returns:
        Whether the stream came to its end.
    """
    for batch in stream:
        if batch.reset_before:
            method.reset()
        outputs, counted = method.step(batch.images).detach().clone(), method.count()
        if counted is not None:
            counted = counted.clone()  # a method may reuse the memory, here and above
        goes_on = guard(outputs)  # first: a checkpoint holds the method as it goes on
        observer.update(batch, outputs, counted)
        if not goes_on:
            return False
    return True
