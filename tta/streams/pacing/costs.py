"""What adapting to a batch costs, in plain forward passes of that batch."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any, Protocol

import torch
from torch import Tensor

from tta.backbones.passes import Passes
from tta.foundation.clocks import synchronize

BACKWARD = 2.0
"""Forward passes that a backward pass costs."""
TOLERANCE = 0.1
"""Of a measured cost, in forward passes: two clock readings differ by as much."""
LATEST = 9
"""Measured batches whose median is the cost."""


class Steps(Protocol):
    """What a cost is measured on."""

    def step(self, images: Tensor) -> Tensor: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class GivenCost:
    """A cost that the user states: nothing is measured, every run is the same.

    Args:
        cost: in forward passes.
    """

    def __init__(self, cost: float) -> None:
        self.cost = cost

    def step(self, method: Steps, images: Tensor) -> tuple[Tensor, float]:
        """Return the outputs of a step and its cost."""
        return method.step(images), self.cost


class CountedCost:
    """Images through the model and its copies, a backward pass as two forward ones.

    The same on every machine; what is not the network's costs nothing.

    Args:
        passes: of the model.
    """

    def __init__(self, passes: Passes) -> None:
        self.passes = passes

    def step(self, method: Steps, images: Tensor) -> tuple[Tensor, float]:
        """Return the outputs of a step and its cost."""
        forward, backward = self.passes.forward, self.passes.backward
        outputs = method.step(images)
        forward, backward = self.passes.forward - forward, self.passes.backward - backward
        return outputs, (forward + BACKWARD * backward) / len(images)


class MeasuredCost:
    """Time of the step over that of the source model's forward pass on the same batch.

    A frozen copy of the source model is timed right after each step, so that measuring moves no
    statistics and a busy machine slows both. Both are warmed up before the first batch, on it, and
    the method is put back to where it was. The cost is the median of the latest :data:`LATEST`
    batches. Waits for the device at every adapted batch; the measuring is in the times of a run.

    Args:
        plain: forward pass of the source model.
        passes: of the method's model, which are not to count what is done to measure.
        device: of the models.
    """

    def __init__(
        self, plain: Callable[[Tensor], Tensor], passes: Passes, device: torch.device
    ) -> None:
        self.plain, self.passes, self.device = plain, passes, device
        self._ratios: list[float] = []

    def step(self, method: Steps, images: Tensor) -> tuple[Tensor, float]:
        """Return the outputs of a step and the cost as known by now."""
        if not self._ratios:
            with self.passes.paused():
                self._warm_up(method, images)
        outputs, seconds = self._timed(method.step, images)
        self._note(seconds, images)
        return outputs, median(self._ratios)

    def _note(self, seconds: float, images: Tensor) -> None:
        ratio = seconds / self._timed(self.plain, images)[1]
        self._ratios = [*self._ratios, ratio][-LATEST:]

    def _warm_up(self, method: Steps, images: Tensor) -> None:
        """Note the ratios of three steps after a first one; the method is left as it was."""
        state = method.state_dict()
        for _ in range(4):
            self._note(self._timed(method.step, images)[1], images)
            method.load_state_dict(state)
        self._ratios = self._ratios[1:]

    def _timed(self, act: Callable[[Tensor], Tensor], images: Tensor) -> tuple[Tensor, float]:
        synchronize(self.device)
        started = time.perf_counter()
        outputs = act(images)
        synchronize(self.device)
        return outputs, time.perf_counter() - started


Cost = GivenCost | CountedCost | MeasuredCost
