"""The only loop over a test stream."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, Protocol

from torch import Tensor

from tta.foundation.stops import Stops
from tta.streams.stream import Batch

Part = Generator[int, Batch | None, Any]
"""A run's part in a stream: yields the position of the first image that it waits for, is sent the
next batch, or None where the stream has ended, and returns what it came to."""


class Adapter(Protocol):
    """What the loop asks of a method."""

    def step(self, images: Tensor) -> Tensor: ...

    def reset(self) -> None: ...

    def count(self) -> Tensor | None: ...


class Observer(Protocol):
    """Sees every batch's outputs; must not synchronise with the device."""

    def update(self, batch: Batch, outputs: Tensor, counted: Tensor | None) -> None: ...


def always(outputs: Tensor) -> bool:
    """Let the stream go on."""
    return True


def evaluate(
    method: Adapter,
    stream: Iterable[Batch],
    observer: Observer,
    guard: Callable[[Tensor], bool] = always,
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
    (end,) = evaluate_together(lambda _: stream, [adapting(method, observer, guard)], Stops())
    if isinstance(end, BaseException):
        raise end
    return end


def adapting(
    method: Adapter,
    observer: Observer,
    guard: Callable[[Tensor], bool] = always,
    position: int = 0,
) -> Part:
    """Take the part of one method in a stream, from ``position`` on; see :func:`evaluate`."""
    while (batch := (yield position)) is not None:
        if batch.reset_before:
            method.reset()
        outputs, counted = method.step(batch.images).detach().clone(), method.count()
        if counted is not None:
            counted = counted.clone()  # a method may reuse the memory, here and above
        goes_on = guard(outputs)  # first: a checkpoint holds the method as it goes on
        observer.update(batch, outputs, counted)
        if not goes_on:
            return False
        position = batch.stop
        del batch, outputs, counted  # not to be held while other parts have their turn
    return True


def evaluate_together(
    batches: Callable[[int], Iterable[Batch]], parts: Sequence[Part], stops: Stops
) -> list[Any]:
    """Stream every batch through all parts, each in its turn, and return what each came to.

    What a part raises ends that part alone. A signal is obeyed by each part after the batch that is
    under way; a second one, and what ``batches`` raises, ends all of them where they are.

    Args:
        batches: yields those that start at a position or later.
        parts: not begun yet; each begins, in turn, before the first batch is made, and has images
            of its own, as methods may write to them.
        stops: what is told of signals.

    Returns:
        Of each part what it returned, or what it raised.
    """
    begun: list[_Begun] = []
    try:
        for part in parts:
            begun.append(_Begun(part))
            _end_all_on(begun[-1].end, stops)
        if any(one.is_live for one in begun):
            with stops.held(), stops.streaming():
                _stream(batches, begun, stops)
    except BaseException as error:  # noqa: BLE001  it is what every part ends with
        for one in begun:
            one.leave(error)
    return [one.end for one in begun]


def _stream(
    batches: Callable[[int], Iterable[Batch]], begun: Sequence[_Begun], stops: Stops
) -> None:
    for batch in batches(min(one.wants for one in begun if one.is_live)):
        waiting = [one for one in begun if one.is_live and one.wants <= batch.start]
        for one in waiting:
            images = batch.images if one is waiting[-1] else batch.images.clone()
            one.take(dataclasses.replace(batch, images=images))
            _end_all_on(one.end, stops)
        if stops.wanted is not None:
            for one in begun:
                one.leave(stops.wanted)  # all are between two batches
        if not any(one.is_live for one in begun):
            return
    for one in begun:
        one.take(None)
        _end_all_on(one.end, stops)


def _end_all_on(end: Any, stops: Stops) -> None:
    """Raise what ended a part where it is more than that part's own."""
    if isinstance(end, BaseException) and not isinstance(end, Exception):
        if end is not stops.wanted or stops.forced:
            raise end


class _Begun:
    """A part that has begun.

    Attributes:
        is_live: whether it waits for a batch.
        wants: position of the first image that it waits for.
        end: what it returned or raised; None before.
    """

    def __init__(self, part: Part) -> None:
        self._part = part
        self.is_live, self.wants, self.end = True, 0, None
        self._go_on(part.__next__)

    def take(self, batch: Batch | None) -> None:
        """Give it the next batch, or say that there is none; one that has ended takes no notice."""
        if self.is_live:
            self._go_on(self._part.send, batch)

    def leave(self, error: BaseException) -> None:
        """Let it end with an error, where it has not ended yet."""
        if self.is_live:
            self._go_on(self._part.throw, error)

    def _go_on(self, act: Callable[..., int], *given: Any) -> None:
        try:
            self.wants = act(*given)
        except StopIteration as end:
            self.is_live, self.end = False, end.value
        except BaseException as error:  # noqa: BLE001  kept for whoever wants to know
            self.is_live, self.end = False, error
