"""From a YAML file to the cells of a sweep."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tta.config import RunConfig, read_yaml, with_settings
from tta.errors import UserError

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
    mapping of option names, or ``set.NAME`` for a hyper-parameter, to lists of values; or a list
    of such mappings, whose cells are joined.

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


def _points(grid: dict[str, Any], origin: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for axis, values in grid.items():
        if axis == "set":
            raise UserError(
                f"{origin}: a grid names each hyper-parameter, as in set.lr: [0.1, 0.01]"
            )
        if not isinstance(values, list) or not values:
            raise UserError(f"{origin}: grid.{axis} must be a list of values, but got {values!r}")
    for values in itertools.product(*grid.values()):
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
