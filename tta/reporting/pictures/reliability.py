"""Reliability diagrams: accuracy by confidence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from tta.foundation.errors import UserError
from tta.reporting.comparing.rows import Row
from tta.reporting.pictures.end_labels import wrapped
from tta.reporting.pictures.style import new_figure
from tta.reporting.records.runs import Matrices, Run, Samples
from tta.tasks.calibration import ECE_BINS, confidence_bins
from tta.tasks.confusion import ratio
from tta.tasks.metric import ECE, RUN_FIGURES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def reliability(samples: Samples) -> pd.DataFrame:
    """Return ``share`` of samples, ``confidence`` and ``accuracy`` of each of the ECE's bins.

    Means of empty bins are NaN; samples whose confidence is not a number are in none, nor are
    images of unknown classes.
    """
    known = slice(None) if samples.known is None else samples.known
    confidence = samples.confidence[known].astype(float)
    frame = pd.DataFrame(
        {
            "bin": confidence_bins(confidence),
            "confidence": confidence,
            "accuracy": samples.correct[known].astype(float),
        }
    ).dropna()
    means = frame.groupby("bin").mean().reindex(range(ECE_BINS))
    counts = np.bincount(frame["bin"], minlength=ECE_BINS)
    return means.assign(share=counts / max(len(confidence), 1))


def pixel_reliability(matrices: Matrices) -> pd.DataFrame:
    """Return the same of the pixels that calibration is told by; images with NaN are in none."""
    sums = np.nan_to_num(matrices.bins.astype(float)).sum(0).reshape(3, ECE_BINS)
    counts, confidence, right = sums
    return pd.DataFrame(
        {
            "confidence": ratio(confidence, counts),
            "accuracy": ratio(right, counts),
            "share": counts / max(1, counts.sum()),
        }
    )


def _reliability_of(run: Run) -> pd.DataFrame:
    matrices = run.matrices()
    if matrices is not None:
        return pixel_reliability(matrices)
    samples = run.samples()
    if samples is None:
        raise UserError(f"{str(run.path)!r} has no samples.npz; run again with --force")
    return reliability(samples)


def draw_reliability(rows: Sequence[Row], width: float) -> Figure:
    """Return one diagram per row: accuracy by bin, the gap to confidence, the samples below.

    All samples of the row's first run are taken together; titles also tell the mean of the
    visits' errors, the figure of :func:`tta.experiment.figures.figures`.

    Raises:
        UserError: a run without a record of single samples.
    """
    columns = min(len(rows), 2 if width < 5 else 4)
    figure = new_figure(width, 1.4 * width / columns * math.ceil(len(rows) / columns))
    panels = figure.subfigures(math.ceil(len(rows) / columns), columns, squeeze=False).flat
    for panel, row in zip(panels, rows, strict=False):
        upper, lower = panel.subplots(2, sharex=True, height_ratios=[4, 1])
        table = _reliability_of(row.runs[0])
        _draw_bins(upper, table)
        _draw_shares(lower, table, "images" if row.runs[0].matrices() is None else "pixels")
        upper.set_title(f"{wrapped(row.label)}\n{_errors(row)}")
    figure.legend(*upper.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _errors(row: Row) -> str:
    """Return both calibration errors of the run that is shown, as tables have them."""
    run = row.runs[0]
    mean, pooled = (run.figure(figure) for figure in RUN_FIGURES if figure.metric is ECE)
    shown = f"seed {run.summary['seed']}: " if len(row.runs) > 1 else ""
    if not math.isfinite(pooled):
        return f"{shown}ECE is not a number"
    return f"{shown}pooled ECE {100 * pooled:.2f} %\nmean ECE {100 * mean:.2f} %"


def _draw_bins(axes: Axes, table: pd.DataFrame) -> None:
    edges, width = np.arange(ECE_BINS) / ECE_BINS, 1 / ECE_BINS
    accuracy, gap = table["accuracy"].fillna(0), (table["confidence"] - table["accuracy"]).fillna(0)
    axes.bar(edges, accuracy, width, align="edge", color="#0072B2", label="accuracy")
    axes.bar(
        edges,
        gap,
        width,
        bottom=accuracy,
        align="edge",
        color="none",
        edgecolor="#D55E00",
        hatch="////",
        linewidth=0.5,
        label="gap to confidence",
    )
    axes.plot([0, 1], [0, 1], color="0.4", linestyle="--", linewidth=0.8)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_ylabel("accuracy")


def _draw_shares(axes: Axes, table: pd.DataFrame, of: str) -> None:
    edges = np.arange(ECE_BINS) / ECE_BINS
    axes.bar(edges, 100 * table["share"], 1 / ECE_BINS, align="edge", color="0.55")
    axes.set_ylabel(f"{of}\n(%)")
    axes.set_xlabel("confidence")
