"""The papers' figures beside ours."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd

from tta.foundation.errors import UserError
from tta.foundation.text import printable
from tta.reporting.comparing.comparison import Comparison
from tta.reporting.comparing.rows import Row
from tta.reporting.tables import as_metric
from tta.tasks.task import SEGMENTATION

COLUMNS = (
    "citation",
    "method",
    "dataset",
    "backbone",
    "scenario",
    "batch_size",
    "severity",
    "metric",
    "value",
    "remarks",
)
PROTOCOL = ("backbone", "batch_size", "severity")
"""What a published figure may differ in and still be shown, with the difference named."""


def read_published(file: Path) -> pd.DataFrame:
    """Return published errors, accuracies and mIoUs, one per row; ``value`` is in percent.

    Other metrics in the file are passed over. A column ``variant`` says what of the method a
    figure is for, beside its plain form; the file may lack it.

    Raises:
        UserError: the file is missing, lacks a column, or has a value that is no percentage.
    """
    try:
        frame = pd.read_csv(file, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise UserError(
            f"cannot read published figures from {str(file)!r} ({error}); name a file with the "
            f"columns {', '.join(COLUMNS)}"
        ) from error
    frame = frame.rename(columns=printable).map(printable)
    missing = [name for name in COLUMNS if name not in frame]
    if missing:
        raise UserError(f"{str(file)!r} lacks the columns {', '.join(missing)}")
    frame = frame[frame["metric"].isin(["error", "accuracy", SEGMENTATION.called("")])]
    values = pd.to_numeric(frame["value"], errors="coerce")
    wrong = frame.index[~values.between(0, 100)]
    if len(wrong):
        raise UserError(
            f"{str(file)!r}: row {wrong[0] + 1} needs a value in percent, but has "
            f"{frame['value'][wrong[0]]!r}"
        )
    return frame.assign(value=values, variant=frame.get("variant", ""))


def beside_ours(comparison: Comparison, published: pd.DataFrame) -> list[dict[str, Any]]:
    """Return published figures of the same method, data set and scenario as rows of a comparison.

    Each has ``label``, ``ours`` and ``theirs`` (mean error, fractions), ``differs``, the facts in
    which the protocols differ, and the ``citation`` and ``remarks``.
    """
    return [
        _beside(row, comparison, entry)
        for row in comparison.rows
        for entry in published.to_dict(orient="records")
        if all(entry[name] == row.summary[name] for name in ("method", "dataset", "scenario"))
    ]


def _beside(row: Row, comparison: Comparison, entry: dict[str, Any]) -> dict[str, Any]:
    ours = row.summary | {"severity": comparison.protocol["severity"]}
    differs = [
        f"{name.replace('_', ' ')} {entry[name]}"
        for name in PROTOCOL
        if entry[name] and not _same(entry[name], str(ours[name]))
    ]
    if entry["variant"]:
        differs.insert(0, f"variant {entry['variant']}")
    return {
        "label": row.label,
        "ours": float(comparison.figures.loc[row.label, "mean"]),
        "theirs": as_metric(entry["value"] / 100, entry["metric"]),
        "differs": ", ".join(differs),
        "citation": entry["citation"],
        "remarks": entry["remarks"],
    }


def _same(theirs: str, ours: str) -> bool:
    """Return whether facts agree; numbers may be written with a fraction (``200.0``)."""
    try:
        return math.isclose(float(theirs), float(ours))
    except ValueError:
        return theirs.lower() == ours.lower()
