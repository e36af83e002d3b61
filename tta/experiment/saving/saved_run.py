"""An unfinished run as its latest checkpoint left it, trusted in nothing but what fits the run."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tta.experiment.saving.state_file import read_state, refusal
from tta.foundation.errors import WRONG_VALUES
from tta.reporting.records.run_directory import RunDirectory

STATE_FILE, PREPARED_FILE = RunDirectory.STATE


@dataclass(frozen=True)
class SavedRun:
    """What a checkpoint holds.

    Attributes:
        position: of the next image in the stream.
        method: state of the method.
        recorder: state of the recorder.
        tables: what the growing tables held, see :meth:`RunDirectory.check_tables`.
        resumed_at: positions at which the run went on before.
        preparation: what the method had computed from source images; None where nothing.
    """

    position: int
    method: dict[str, Any]
    recorder: dict[str, Any]
    tables: dict[str, dict[str, Any]]
    resumed_at: list[int]
    preparation: dict[str, Any] | None


def load_run(
    directory: RunDirectory,
    prepares: bool,
    starts: np.ndarray,
    made_with: Mapping[str, Any],
) -> SavedRun | None:
    """Return the latest checkpoint of a run; None where there is none. Nothing is changed.

    Args:
        directory: of the run.
        prepares: whether the method computes something from source images.
        starts: positions of the batches' first images.
        made_with: see :func:`tta.foundation.arithmetic.arithmetic`.

    Raises:
        UserError: a file of the checkpoint is damaged, of another run or of another version, or
            was made with what rounds otherwise.
    """
    if not directory.has_state():
        return None
    fingerprint = directory.path.name
    path = directory.path / STATE_FILE
    state = read_state(path, fingerprint, made_with)
    _refuse(path, _faults(state, starts))
    preparation = None
    if prepares:
        preparation = read_state(directory.path / PREPARED_FILE, fingerprint, made_with)
        _refuse(directory.path / PREPARED_FILE, _preparation_faults(preparation))
    directory.check_tables(state["tables"])
    return SavedRun(**state, preparation=preparation)


@contextlib.contextmanager
def taking_over(directory: RunDirectory) -> Iterator[None]:
    """Turn what fails where the state of a checkpoint does not fit its run into a refusal."""
    try:
        yield
    except WRONG_VALUES as error:
        fault = f"does not fit this run ({type(error).__name__}: {error})"
        raise refusal(directory.path / STATE_FILE, fault) from error


def _refuse(path: Path, faults: list[str]) -> None:
    if faults:
        raise refusal(path, f"does not fit this run: {', '.join(faults)}")


def _faults(state: dict[str, Any], starts: np.ndarray) -> list[str]:
    """Return the names of what in a state is not what the run would have written."""
    position, recorder = state.get("position"), state.get("recorder")
    fits = {
        "position": _is_count(position) and position > 0 and position in starts,
        "method": isinstance(state.get("method"), dict),
        "recorder": isinstance(recorder, dict) and _is_recorder(recorder, position),
        "resumed_at": _are_positions(state.get("resumed_at"), starts, position),
        "tables": _are_tables(state.get("tables")),
    }
    return [name for name, good in fits.items() if not good] + sorted(
        repr(name) for name in state.keys() - fits.keys()
    )


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _are_positions(values: Any, starts: np.ndarray, last: Any) -> bool:
    if not isinstance(values, list) or not all(_is_count(v) and v in starts for v in values):
        return False
    return _is_count(last) and all(a <= b for a, b in itertools.pairwise([*values, last]))


def _are_tables(values: Any) -> bool:
    return (
        isinstance(values, dict)
        and values.keys() == set(RunDirectory.GROWING)
        and all(isinstance(table, dict) for table in values.values())
        and all(_is_count(table.get("bytes")) for table in values.values())
        and all(isinstance(table.get("sha256"), str) for table in values.values())
    )


def _is_recorder(state: dict[str, Any], position: Any) -> bool:
    seconds, watch = state.get("seconds"), state.get("watch")
    joules = state.get("joules")
    return (
        _has_columns(state.get("samples"), position)
        and isinstance(seconds, float)
        and math.isfinite(seconds)
        and seconds >= 0
        and (joules is None or isinstance(joules, float) and joules >= 0)
        and (watch is None or isinstance(watch, dict) and _is_watch(watch, position))
    )


def _is_watch(state: dict[str, Any], position: Any) -> bool:
    collapsed_at = state.get("collapsed_at")
    return (
        _has_columns(state.get("values"), position)
        and len(state["values"]) == 2
        and isinstance(state.get("distances"), dict)
        and _is_count(state.get("judged"))
        and (collapsed_at is None or _is_count(collapsed_at) and collapsed_at < position)
    )


def _has_columns(values: Any, count: Any) -> bool:
    return (
        isinstance(values, Tensor)
        and values.dtype is torch.float32
        and values.ndim == 2
        and values.shape[1] == count
    )


def _preparation_faults(entry: dict[str, Any]) -> list[str]:
    parts = {name: entry.get(name) for name in ("prepared", "state")}
    return [name for name, part in parts.items() if not isinstance(part, dict)]
