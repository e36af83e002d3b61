"""How long a sweep would take, from a few measured batches."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from torch import Tensor

from tta.experiment.assembly import build, rounding_of
from tta.experiment.built import Experiment
from tta.experiment.preparation import preparation_cache
from tta.foundation.clocks import synchronize
from tta.foundation.errors import UserError
from tta.reporting.records.run_directory import RunDirectory
from tta.streams.loop import evaluate
from tta.streams.stream import Batch
from tta.sweeps.cells import one_line
from tta.sweeps.grid import Cell

MEASURED = 2
"""Batches that are timed, after as many that are not."""


@dataclass(frozen=True)
class Estimate:
    """What a cell would do.

    Attributes:
        cell: the cell.
        seconds: it would take alone; 0 where it is finished, None where it would fail.
        status: ``done``, ``missing`` or why it would fail.
        refused: whether it would fail for bad input.
    """

    cell: Cell
    seconds: float | None
    status: str
    refused: bool = False


def estimates(cells: Iterable[Cell]) -> Iterator[Estimate]:
    """Yield an estimate for every cell; cells that differ in their seed alone share one."""
    known: dict[str, tuple[float, float]] = {}
    for cell in cells:
        try:
            yield _estimate(cell, known)
        except UserError as error:
            yield Estimate(cell, None, one_line(error), refused=True)
        except Exception as error:  # noqa: BLE001  whatever it is, it is this cell's alone
            yield Estimate(cell, None, one_line(error))


def _estimate(cell: Cell, known: dict[str, tuple[float, float]]) -> Estimate:
    experiment = build(cell.config)
    if RunDirectory.is_done(experiment.path()) and not cell.config.force:
        RunDirectory.read_finished(experiment.path())
        return Estimate(cell, 0.0, "done")
    key = str(dataclasses.replace(cell.config, seed=0))
    if key not in known:
        known[key] = _measure(experiment)
    preparation, step = known[key]
    return Estimate(cell, preparation + step * len(experiment.stream), "missing")


def _measure(experiment: Experiment) -> tuple[float, float]:
    """Return the seconds of preparing, and of one batch."""
    with rounding_of(experiment.config, experiment.device):
        return _measured(experiment)


def _measured(experiment: Experiment) -> tuple[float, float]:
    synchronize(experiment.device)
    started = time.perf_counter()
    experiment.method.start(experiment.source, preparation_cache(experiment))
    synchronize(experiment.device)
    clock = _Clock()
    warm_up = MEASURED * experiment.config.window
    evaluate(experiment.method, islice(experiment.stream, 2 * warm_up), clock)
    count = len(clock.times) - 1
    first = warm_up if count > warm_up else 0  # the stream may be too short to warm up
    return clock.times[0] - started, (clock.times[-1] - clock.times[first]) / (count - first)


class _Clock:
    """Observer that waits for every batch's outputs and notes the time, first of the start."""

    def __init__(self) -> None:
        self.times = [time.perf_counter()]

    def update(self, batch: Batch, outputs: Tensor, counted: Tensor | None) -> None:
        outputs.cpu()
        self.times.append(time.perf_counter())
