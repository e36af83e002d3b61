"""The rules by which a method adapts to some batches and only predicts the others."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

GUARD = 1e-9
"""Keeps what rounding adds to a whole number from making it the next one."""


class Pace:
    """Says, batch by batch, whether the method adapts.

    Attributes:
        state: names of the attributes that change, all of them plain numbers.
    """

    state: ClassVar[tuple[str, ...]] = ("number",)
    number = 0

    def adapts(self) -> bool:
        """Return whether the method adapts to the next batch, and go on to the one after it."""
        adapts = self._adapts()
        self.number += 1
        return adapts

    def _adapts(self) -> bool:
        raise NotImplementedError

    def spent(self, cost: float) -> None:
        """Take note of what an adapted batch has cost, in plain forward passes of a batch."""

    def reset(self) -> None:
        """Take note that the scenario resets the method; batches are counted on by default."""

    def state_dict(self) -> dict[str, Any]:
        """Return where the stream is."""
        return {name: getattr(self, name) for name in self.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a :meth:`state_dict`."""
        for name in self.state:
            setattr(self, name, state[name])


class Rate(Pace):
    """Adapts to a share of the batches, evenly spread.

    Batch t (from 0) is adapted to where floor((t + 1) r) > floor(t r). The sparse adaptation that
    SNAP (NeurIPS 2025) compares with.

    Args:
        rate: r, above 0 and at most 1.
        first: begin with an adapted batch instead of ending each period with one.
    """

    def __init__(self, rate: float, first: bool = False) -> None:
        self.rate, self.first = rate, first

    def _adapts(self) -> bool:
        return self._steps(self.number + 1) > self._steps(self.number)

    def _steps(self, batches: int) -> int:
        if self.first:
            return math.ceil(batches * self.rate - GUARD)
        return math.floor(batches * self.rate + GUARD)


class Periodic(Pace):
    """Adapts to the first batches of every period.

    Args:
        period: batches, at least 1.
        steps: of them that are adapted to.
    """

    def __init__(self, period: int, steps: int = 1) -> None:
        self.period, self.steps = period, steps

    def _adapts(self) -> bool:
        return self.number % self.period < self.steps


class Planned(Pace):
    """Adapts to the batches that the stream's plan names.

    Args:
        schedule: whether each batch of the stream is adapted to ``[n]``.
    """

    def __init__(self, schedule: np.ndarray) -> None:
        self.schedule = schedule

    def _adapts(self) -> bool:
        return bool(self.schedule[self.number])


class StreamRate(Pace):
    """Lets a slow method miss batches, as the stream does not wait for it.

    A batch that costs as much as c plain forward passes is followed by ceil(eta c) - 1 batches
    that are only predicted. Alfarra et al., Evaluation of test-time adaptation under computational
    time constraints, ICML 2024.

    Args:
        rate: eta, from 0 (the stream waits) to 1 (it is as fast as the plain forward pass).
        tolerance: of a cost, in forward passes, below which nothing is missed; for costs that are
            measured.
    """

    state = ("number", "debt")
    debt = 0

    def __init__(self, rate: float, tolerance: float = 0.0) -> None:
        self.rate, self.tolerance = rate, tolerance

    def _adapts(self) -> bool:
        if self.debt == 0:
            return True
        self.debt -= 1
        return False

    def spent(self, cost: float) -> None:
        self.debt += max(0, math.ceil(self.rate * (cost - self.tolerance) - GUARD) - 1)

    def reset(self) -> None:
        """Pay the debt: another stream begins."""
        self.debt = 0
