"""How long a sweep would take, from a few measured batches."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tta.errors import UserError
from tta.experiment import Experiment, build, preparation_cache
from tta.reporting.run_directory import RunDirectory
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
    """

    cell: Cell
    seconds: float | None
    status: str


def estimates(cells: Iterable[Cell]) -> Iterator[Estimate]:
    """Yield an estimate for every cell; cells that differ in their seed alone share one."""
    known: dict[str, tuple[float, float]] = {}
    for cell in cells:
        try:
            yield _estimate(cell, known)
        except UserError as error:
            yield Estimate(cell, None, one_line(error))


def _estimate(cell: Cell, known: dict[str, tuple[float, float]]) -> Estimate:
    experiment = build(cell.config)
    if RunDirectory.is_done(experiment.path()) and not cell.config.force:
        return Estimate(cell, 0.0, "done")
    key = str(dataclasses.replace(cell.config, seed=0))
    if key not in known:
        known[key] = _measure(experiment)
    preparation, step = known[key]
    return Estimate(cell, preparation + step * len(experiment.stream), "missing")


def _measure(experiment: Experiment) -> tuple[float, float]:
    """Return the seconds of preparing, and of one batch."""
    steps = MEASURED * experiment.config.window
    started = time.perf_counter()
    experiment.method.start(experiment.source, preparation_cache(experiment))
    prepared = time.perf_counter()
    batches = iter(experiment.stream)
    for turn, batch in zip(range(2 * steps), batches, strict=False):
        if turn == steps:
            warm = time.perf_counter()
        experiment.method.step(batch.images).cpu()
    ended = time.perf_counter()
    if turn < steps:  # a stream too short to warm up
        return prepared - started, (ended - prepared) / (turn + 1)
    return prepared - started, (ended - warm) / (turn + 1 - steps)
