"""The only loop over a test stream."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Protocol

import torch
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


def evaluate(
    method: Adapter,
    stream: Iterable[Batch],
    observer: Observer,
    precision: contextlib.AbstractContextManager | None = None,
) -> None:
    """Stream every batch through ``method`` once, in order, and show its outputs to ``observer``.

    Args:
        method: prepared by ``start()``; sees images alone.
        stream: the test stream, or what is left of it.
        observer: counts, records and displays.
        precision: autocast context of the forward passes; None for float32.
    """
    with precision or contextlib.nullcontext():
        for batch in stream:
            if batch.reset_before:
                method.reset()
            outputs = method.step(batch.images)
            observer.update(batch, outputs.detach(), method.count())


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager:
    """Return the context for ``fp32``, ``bf16`` or ``fp16`` forward passes."""
    if precision == "fp32":
        return contextlib.nullcontext()
    dtype = torch.bfloat16 if precision == "bf16" else torch.float16
    return torch.autocast(device.type, dtype)
