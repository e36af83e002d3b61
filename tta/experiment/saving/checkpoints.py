"""A run that can be killed at any moment and go on to the same figures."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

from torch import Tensor

from tta.experiment.saving.saved_run import PREPARED_FILE, STATE_FILE
from tta.experiment.saving.state_file import write_state
from tta.foundation.stops import Stops
from tta.methods.state import Stateful, captured_bytes, park
from tta.reporting.records.run_directory import RunDirectory
from tta.streams.stream import Batch

MIN_INTERVAL = 30.0
"""Least seconds between two checkpoints, unless the user sets the batches between them."""
GREATEST_SHARE = 0.015
"""Of the time, spent on checkpoints: under 2 %, with room for one that takes longer; of all runs
together where several share it."""
FIRST_GUESS = 100e6
"""Bytes per second to the disk, until one checkpoint has been timed."""


class Recording(Stateful, Protocol):
    """The recorder, as far as checkpoints know it."""

    def update(self, batch: Batch, outputs: Tensor, counted: Tensor | None) -> None: ...

    def restart_clock(self) -> None: ...


class Checkpoints:
    """Observer that passes every batch on to the recorder and saves the run in between.

    It is here that a run obeys a signal: between two batches, after saving. One that shares its
    stream may learn of it when its turn is over, see :meth:`leave`.

    Args:
        recorder: sees every batch first.
        method: between two batches whenever it is saved.
        directory: where checkpoints go; its name is the run's fingerprint.
        images: length of the stream; after its last batch nothing is saved.
        every: batches between checkpoints, 0 for none, None to bound their cost.
        preparation: written once, beside the first checkpoint; None for none.
        first_bytes: expected size of the first checkpoint.
        resumed_at: positions at which the run went on.
        apart: context in which a checkpoint is made, such as
            :meth:`tta.experiment.observing.memory.PeakMemory.paused`.
        made_with: see :func:`tta.foundation.arithmetic.arithmetic`.
        stops: what is told of signals; None where nothing is.
        runs: tells how many runs share the time.
    """

    def __init__(
        self,
        recorder: Recording,
        method: Stateful,
        directory: RunDirectory,
        images: int,
        *,
        every: int | None = None,
        preparation: dict[str, Any] | None = None,
        first_bytes: int = 0,
        resumed_at: list[int] | None = None,
        apart: Callable[[], AbstractContextManager[None]] = nullcontext,
        made_with: Mapping[str, Any] | None = None,
        stops: Stops | None = None,
        runs: Callable[[], int] = lambda: 1,
    ) -> None:
        self.recorder, self.method, self.directory = recorder, method, directory
        self.images, self.every, self.preparation = images, every, preparation
        self.resumed_at = resumed_at or []
        self.apart, self.made_with, self.stops = apart, made_with, stops or Stops()
        self.seconds = 0.0
        self._batches = self._reached = self._saved = 0
        self._last = time.perf_counter()
        self._runs, self._cost = runs, first_bytes / FIRST_GUESS

    def update(self, batch: Batch, outputs: Tensor, counted: Tensor | None = None) -> None:
        """Show the batch to the recorder, then save the run where that is due.

        Raises:
            Stopped: a signal came, and images are left; the run was saved, unless by choice none
                is.
        """
        is_last = batch.stop >= self.images
        with self.stops.held():
            self.recorder.update(batch, outputs, counted)
            self._batches, self._reached = self._batches + 1, batch.stop
            if not is_last and self._due():
                self.save(batch.stop)
        if not is_last:
            self.stops.obey()

    def leave(self) -> bool:
        """Save what is not saved yet, if a batch is not broken; return whether all images are done.

        The run is between two batches, unless a second signal came.
        """
        if self._reached >= self.images:
            return True
        if self._reached > self._saved and self.every != 0 and not self.stops.forced:
            with self.stops.held():
                self.save(self._reached)
        return False

    def _due(self) -> bool:
        if self.stops.wanted is not None:
            return self.every != 0
        if self.every is None:
            return time.perf_counter() - self._last > _interval(self._runs() * self._cost)
        return self.every > 0 and self._batches % self.every == 0

    def save(self, position: int) -> None:
        """Write a checkpoint; the run is between two batches and goes on at ``position``."""
        recorded = self.recorder.state_dict()  # waits for the device: that time is the batches'
        started = time.perf_counter()
        with self.apart():
            self._write(position, recorded)
        self._last, self._saved = time.perf_counter(), position
        self._cost = self._last - started
        self.seconds += self._cost
        self.recorder.restart_clock()

    def _write(self, position: int, recorded: dict[str, Any]) -> None:
        fingerprint, folder = self.directory.path.name, self.directory.path
        if self.preparation is not None:
            write_state(folder / PREPARED_FILE, self.preparation, fingerprint, self.made_with)
            self.preparation = None
        state = {
            "position": position,
            "method": park(self.method.state_dict()),
            "recorder": recorded,
            "resumed_at": self.resumed_at,
        }
        state["tables"] = self.directory.sync()
        write_state(folder / STATE_FILE, state, fingerprint, self.made_with, position)


def _interval(seconds: float) -> float:
    return max(MIN_INTERVAL, seconds / GREATEST_SHARE)


def saved_bytes(preparation: dict[str, Any]) -> int:
    """Return about how many bytes the first checkpoint of a prepared method writes."""
    return captured_bytes(preparation["prepared"]) + 2 * captured_bytes(preparation["state"])
