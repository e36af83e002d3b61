"""One cell of a sweep, wherever it is executed.

This module imports neither torch nor numpy, so that a worker can set its threads before them.
"""

from __future__ import annotations

import dataclasses
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from tta.config import RunConfig
from tta.foundation.errors import UserError, message_of
from tta.tasks.task import headline_in_words

if TYPE_CHECKING:
    from tta.sweeps.grid import Cell


@dataclass(frozen=True)
class Finished:
    """What is left of a cell that came to its end.

    Attributes:
        path: the run directory, below the output folder.
        reused: whether it was finished before.
        headline: the figure that it is judged by, in words.
        collapsed: whether the run is marked as collapsed.
        nonfinite: whether its outputs were not finite, from some batch on.
        warned: whether its record says why its figures may not be what they seem.
    """

    path: str
    reused: bool
    headline: str
    collapsed: bool
    nonfinite: bool
    warned: bool = False


@dataclass(frozen=True)
class Failed:
    """What is left of a cell that failed: plain text, as not every error can be sent.

    Attributes:
        error: what failed, on one line.
        details: the traceback.
    """

    error: str
    details: str


@dataclass(frozen=True)
class Outcome:
    """A cell and how it ended.

    Attributes:
        cell: the cell.
        finished: what it left; None for a cell that failed.
        error: what failed, on one line; empty where nothing did.
        details: the traceback.
    """

    cell: Cell
    finished: Finished | None
    error: str = ""
    details: str = ""


def outcome_of(cell: Cell, left: Finished | Failed) -> Outcome:
    """Return how a cell has ended."""
    if isinstance(left, Failed):
        return Outcome(cell, None, left.error, left.details)
    return Outcome(cell, left)


def fault_of(config: RunConfig) -> str:
    """Return why a configuration cannot run, on one line; empty where nothing is known of it.

    Its parts are made, but nothing is measured, prepared or written.
    """
    from tta.experiment.assembly import build

    if config.precision == "auto":  # takes a second to measure
        config = dataclasses.replace(config, precision="fp32")
    try:
        build(config, calibrated=False)
    except UserError as error:
        return one_line(error)
    return ""


def run_cells(configs: Sequence[RunConfig], share: float = 1.0) -> list[Finished | Failed]:
    """Run configurations, or what is left of them; a finished one is not run again.

    Args:
        configs: of one of :func:`tta.sweeps.grid.groups`.
        share: of the memory that models may take, for this process.
    """
    from tta.experiment.together import SHARE_OF_MEMORY, run_together
    from tta.foundation.stops import listening

    asked, share_of_memory = [_resuming(config) for config in configs], share * SHARE_OF_MEMORY
    with listening(say=False) as stops:
        ends = dict(run_together(asked, stops=stops, share_of_memory=share_of_memory))
    return [_left(ends[number], config.output) for number, config in enumerate(configs)]


def _left(end: dict[str, Any] | Exception, output: str) -> Finished | Failed:
    if isinstance(end, Exception):
        return Failed(one_line(end), "".join(traceback.format_exception(end)))
    return _finished(end, output)


def _resuming(config: RunConfig) -> RunConfig:
    return dataclasses.replace(config, resume=not config.force)


def _finished(summary: dict[str, Any], output: str) -> Finished:
    return Finished(
        path=Path(summary["path"]).relative_to(output).as_posix(),
        reused=summary["reused"],
        headline=headline_in_words(summary),
        collapsed=summary.get("collapsed_at_batch") is not None,
        nonfinite=summary.get("nonfinite_at_batch") is not None,
        warned=bool(summary.get("warnings")),
    )


def run_cell_apart(
    config: RunConfig, done: frozenset[str]
) -> tuple[Finished | str, dict[str, bytes]]:
    """Run a configuration on a machine that does not see the output folder.

    Args:
        config: of the run.
        done: run directories below the output folder that are finished.

    Returns:
        What is left of it, or the path alone where that is among ``done``, and the run
        directory's files by their path below it.
    """
    from tta.experiment.assembly import build
    from tta.experiment.execution import run_experiment

    with tempfile.TemporaryDirectory() as folder:
        config = dataclasses.replace(config, output=folder)
        # Built once: another probe of --precision auto may choose another run directory.
        experiment = build(_resuming(config))
        path = experiment.path().relative_to(folder).as_posix()
        if path in done and not config.force:
            return path, {}
        finished = _finished(run_experiment(experiment), folder)
        root = Path(folder, finished.path)
        found = [file for file in root.rglob("*") if file.is_file()]
        names = [file.relative_to(root).as_posix() for file in found]
        files = {name: file.read_bytes() for name, file in zip(names, found, strict=True)}
    return finished, files


def finished_below(output: str) -> Iterator[str]:
    """Yield the finished run directories below an output folder."""
    for marker in Path(output).glob("*/*/*/*/*/done"):
        yield PurePosixPath(marker.parent.relative_to(output)).as_posix()


def one_line(error: BaseException) -> str:
    """Return what a failed cell is listed with."""
    kind, text = type(error).__name__, message_of(error)
    return text if kind in ("UserError", text) else f"{kind}: {text}"
