"""Recorded runs as one table."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from tta.foundation.text import printable
from tta.reporting.records.finding import find_runs
from tta.reporting.records.runs import Run

_TABLES = ("domains", "needs", "warnings")
"""Lists in a summary."""


def load_runs(folder: str | Path) -> pd.DataFrame:
    """Return one row per run at or below a folder, as ``python -m tta.compare`` finds them.

    Columns are the facts and figures of the summary, with dots where it is nested
    (``cost.images_per_second``, ``params.lr``), the mean error of each domain
    (``error.gaussian_noise``; of segmentation, ``miou.fog``), the options
    (``config.batch_size``), and the run's ``path``.
    Figures are fractions.

    A damaged record, or a copy of another, is left out with a warning that names it.

    Args:
        folder: a run directory, or a folder of them.

    Raises:
        UserError: there is no such folder, or no run in it that can be read.
    """
    runs, left_out = find_runs([Path(folder)])
    for line in left_out:
        warnings.warn(printable(f"left out {line}"), stacklevel=2)
    return pd.DataFrame([_row(run) for run in runs])


def _row(run: Run) -> dict[str, Any]:
    summary = {name: value for name, value in run.summary.items() if name not in _TABLES}
    name, found = run.task.headline.name, run.task.shortfall(run.domain_errors())
    errors = {f"{name}.{domain}": figure for domain, figure in found.items()}
    options = {name: value for name, value in run.config.items() if name != "set"}
    return {
        **_flat(summary),
        "needs": ", ".join(run.summary.get("needs", ())),
        "warnings": "; ".join(run.summary.get("warnings", ())),
        **errors,
        **_flat({"config": options}),
        "path": str(run.path),
    }


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value
    return flat
