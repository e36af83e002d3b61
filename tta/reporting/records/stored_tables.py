"""The tables of a run directory, checked against its summary."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tta.foundation.errors import UserError
from tta.foundation.text import csv_cell, from_csv_cell, printable
from tta.tasks.metric import ERROR
from tta.tasks.task import recorded_task
from tta.tasks.visits import judged_images

COUNTS = ("position", "size", "correct")


def to_csv(frame: pd.DataFrame, **options: Any) -> str:
    """Return a table as CSV in which no spreadsheet finds a formula."""
    text = frame.select_dtypes(exclude=["number", "bool"]).map(csv_cell)
    return frame.assign(**text).rename(columns=printable).to_csv(index=False, **options)


def _read(file: Path) -> tuple[pd.DataFrame, str]:
    text = file.read_bytes().decode("utf-8")
    # A domain may be called "nan": only an empty cell is no figure.
    frame = pd.read_csv(
        io.StringIO(text), dtype={"domain": str}, keep_default_na=False, na_values=[""]
    )
    return frame.assign(domain=frame["domain"].map(from_csv_cell)), text


def read_batches(file: Path, summary: dict[str, Any], cure: str) -> pd.DataFrame:
    """Return the rows of ``batches.csv`` whose figures count.

    Args:
        file: to read.
        summary: of the run, sound.
        cure: what to do about a damaged one, for messages.

    Raises:
        UserError: the rows are not those that the summary tells of.
        OSError, ValueError, LookupError, TypeError: the file is no such table.
    """
    frame, text = _read(file)
    for name in (*COUNTS, *({"known", "pixels"} & {*frame})):
        frame[name] = pd.to_numeric(frame[name]).astype(np.int64)
    seen, adapted = int(frame["size"].sum()), (summary.get("held_out") or {}).get("adapted_images")
    expected = summary["samples"] + (adapted or 0)
    if not text.endswith("\n") or seen < expected:
        raise UserError(f"{str(file)!r} is cut short: {seen} of {expected} samples; {cure}")
    starts = np.cumsum([0, *frame["size"][:-1]])
    right = sum(map(_right, summary["domains"]))
    in_order = (frame["position"] == starts).all()
    if adapted is not None:  # a batch is adapted to or judged, never both
        frame = frame[frame["adapted"] == 0].reset_index(drop=True)
    sound = (
        seen == expected
        and in_order
        and frame["correct"].between(0, _judged(frame)).all()
        and abs(frame["correct"].sum() - right) < 0.5
        and frame["severity"].notna().all()
    )
    if not sound:
        raise UserError(f"{str(file)!r} does not fit its summary; {cure}")
    return frame


def _judged(frame: pd.DataFrame) -> pd.Series:
    """Return of how many images, or pixels, each batch tells whether they are right."""
    return frame.get("pixels", frame.get("known", frame["size"]))


def _right(row: dict[str, Any]) -> float:
    """Return how many images, or pixels, of a visit are right."""
    return row["correct"] if "pixels" in row else (row["accuracy"] or 0) * judged_images(row)


def _rates(summary: dict[str, Any]) -> tuple[str, ...]:
    task = recorded_task(summary)
    return ("error", "accuracy") if task.headline is ERROR else (task.headline.name, "correct")


def check_domains(file: Path, summary: dict[str, Any], cure: str) -> None:
    """Refuse a ``domains.csv`` that is not the table in the summary; a missing one is none.

    Raises:
        UserError: it differs, or cannot be read.
    """
    if not file.exists():
        return
    try:
        frame, _ = _read(file)
        rows = pd.DataFrame(summary["domains"])
        same = [printable(name) for name in frame["domain"]] == rows["domain"].tolist() and all(
            np.allclose(
                pd.to_numeric(frame[name]), rows[name].astype(float), rtol=1e-9, equal_nan=True
            )
            for name in ("samples", *_rates(summary))
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(f"{str(file)!r} cannot be read ({error}); {cure}") from error
    if not same:
        raise UserError(f"{str(file)!r} does not fit its summary; {cure}")
