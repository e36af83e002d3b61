"""From a YAML file to the cells of a sweep."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tta.config import RunConfig, read_yaml, with_settings
from tta.foundation.errors import UserError

PARAMETER = "set."
"""Prefix of the axes that are hyper-parameters, as in ``set.lr``."""


@dataclass(frozen=True)
class Cell:
    """One run of a sweep.

    Attributes:
        name: where it is in the grid, such as ``method=tent seed=1``.
        config: of the run.
    """

    name: str
    config: RunConfig


def read_grid(path: Path) -> list[Cell]:
    """Return the cells of a grid file, each once, in the order of its axes.

    The file holds options of :class:`~tta.config.RunConfig` that all runs share, and ``grid``: a
    mapping of option names, or ``set.NAME`` for a hyper-parameter, to lists of values, or to one
    value; or a list of such mappings, whose cells are joined.

    Raises:
        UserError: the file cannot be read, or has an unknown option or a value out of range.
    """
    shared = read_yaml(path)
    grids = shared.pop("grid", None)
    if isinstance(grids, dict):
        grids = [grids]
    if not isinstance(grids, list) or not grids or not all(isinstance(g, dict) for g in grids):
        raise UserError(
            f"{str(path)!r} needs 'grid': a mapping of options to lists of values, such as "
            "{method: [tent, rmt], seed: [1, 2, 3]}"
        )
    origin = repr(str(path))
    cells = {
        name: Cell(name, RunConfig.from_mapping(_merged(shared, point), origin))
        for grid in grids
        for name, point in _points(grid, origin)
    }
    return list(cells.values())


def distinct(cells: Sequence[Cell]) -> list[Cell]:
    """Return the first of all cells that differ in their seed alone."""
    kinds: dict[str, Cell] = {}
    for cell in cells:
        kinds.setdefault(str(dataclasses.replace(cell.config, seed=0)), cell)
    return list(kinds.values())


def groups(cells: Sequence[Cell], workers: int) -> list[list[Cell]]:
    """Return cells in groups that share a stream, none so large that workers would be idle.

    Args:
        cells: of the grid.
        workers: how many groups are run at a time.
    """
    streams: dict[str, list[Cell]] = {}
    for number, cell in enumerate(cells):
        streams.setdefault(cell.config.stream_key or f"alone {number}", []).append(cell)
    most = -(-len(cells) // workers)
    parted = []
    for shared in streams.values():
        count = -(-len(shared) // most)
        bounds = [len(shared) * part // count for part in range(count + 1)]
        parted += [shared[start:stop] for start, stop in itertools.pairwise(bounds)]
    return parted


def refuse_impossible(cells: Sequence[Cell], faults: Sequence[str]) -> None:
    """Refuse a grid that has cells which cannot run.

    Args:
        cells: see :func:`distinct`.
        faults: of each, see :func:`tta.sweeps.cells.fault_of`.

    Raises:
        UserError: some cannot.
    """
    bad = [(cell, fault) for cell, fault in zip(cells, faults, strict=True) if fault]
    if bad:
        cell, fault = bad[0]
        raise UserError(
            f"nothing was run, as some cells of the grid cannot run (seeds aside, {len(bad)} of "
            f"{len(cells)}): {cell.name}: {fault}; mend the grid, or split it into a list of "
            "smaller ones without them; --dry-run names them all"
        )


def _points(grid: dict[str, Any], origin: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for axis, values in grid.items():
        if axis == "set":
            raise UserError(
                f"{origin}: a grid names each hyper-parameter, as in set.lr: [0.1, 0.01]"
            )
        if isinstance(values, dict) or values in ([], None):
            raise UserError(f"{origin}: grid.{axis} must be a list of values, but got {values!r}")
    axes = [values if isinstance(values, list) else [values] for values in grid.values()]
    for values in itertools.product(*axes):
        point = dict(zip(grid, values, strict=True))
        yield " ".join(f"{axis}={_shown(value)}" for axis, value in point.items()), point


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _merged(shared: dict[str, Any], point: dict[str, Any]) -> dict[str, Any]:
    values = {name: value for name, value in point.items() if not name.startswith(PARAMETER)}
    settings = {
        name.removeprefix(PARAMETER): value
        for name, value in point.items()
        if name.startswith(PARAMETER)
    }
    return with_settings({**shared, **values}, settings)
