"""The only loop over a test stream."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from torch import Tensor

from tta.stream import Batch


class Adapter(Protocol):
    """What the loop asks of a method."""

    def step(self, images: Tensor) -> Tensor: ...

    def reset(self) -> None: ...

    def count(self) -> Tensor | None: ...


class Observer(Protocol):
    """Sees every batch's outputs; must not synchronise with the device."""

    def update(self, batch: Batch, outputs: Tensor, counted: Tensor | None) -> None: ...


def evaluate(method: Adapter, stream: Iterable[Batch], observer: Observer) -> None:
    """Stream every batch through ``method`` once, in order, and show its outputs to ``observer``.

    Args:
        method: prepared by ``start()``; sees images alone.
        stream: the test stream, or what is left of it.
        observer: counts, records and displays.
    """
    for batch in stream:
        if batch.reset_before:
            method.reset()
        outputs = method.step(batch.images)
        observer.update(batch, outputs.detach(), method.count())
