"""Error along the stream, domains as bands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from tta.reporting.pictures.style import line_styles, new_figure
from tta.reporting.rows import Row
from tta.reporting.tables import as_metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAXIMUM_NAMED_BANDS = 40


def curve(batches: pd.DataFrame, window: int) -> pd.DataFrame:
    """Return ``position`` (middle of a batch), ``error`` per batch and its ``running`` mean.

    A batch of less than half the usual size, such as the rest of a domain, has no error of its own:
    that of one image is 0 or 1.

    Args:
        batches: rows of ``batches.csv``.
        window: batches of the running mean, the latest ones, each weighted by its images.
    """
    sizes, wrong = batches["size"], batches["size"] - batches["correct"]
    running = wrong.rolling(window, min_periods=1).sum() / sizes.rolling(window, 1).sum()
    position = batches["position"] + sizes / 2
    error = (wrong / sizes).where(sizes >= sizes.median() / 2)
    return pd.DataFrame({"position": position, "error": error, "running": running})


def domain_bands(batches: pd.DataFrame) -> list[tuple[str, int, int]]:
    """Return (domain, start, stop) of the stretches of a stream that show one domain."""
    starts = np.flatnonzero(batches["domain"] != batches["domain"].shift())
    stops = [*starts[1:], len(batches)]
    ends = batches["position"] + batches["size"]
    return [
        (str(batches["domain"][first]), int(batches["position"][first]), int(ends[last - 1]))
        for first, last in zip(starts, stops, strict=True)
    ]


def draw_along_stream(rows: Sequence[Row], metric: str, width: float, window: int) -> Figure:
    """Return per-batch curves (thin) and running means (thick) of each row's first run."""
    figure = new_figure(width, 0.32 * width + 1.1)
    axes = figure.add_subplot()
    styles = line_styles([row.label for row in rows])
    tables = {row.label: row.runs[0].batches() for row in rows}
    _draw_bands(axes, domain_bands(tables[rows[0].label]))
    for label, batches in tables.items():
        points = curve(batches, window)
        rates = 100 * as_metric(points[["error", "running"]], metric)
        colour = styles[label]["color"]
        axes.plot(points["position"], rates["error"], color=colour, linewidth=0.4, alpha=0.25)
        axes.plot(points["position"], rates["running"], label=label, **styles[label])
    axes.set_xlabel("images seen")
    axes.set_ylabel(f"{metric} (%), mean of {window} batches")
    axes.set_ylim(bottom=0)
    axes.margins(x=0)
    longest = max(len(label) for label in tables)
    figure.legend(loc="outside lower center", ncols=max(1, int(width / (0.5 + 0.06 * longest))))
    return figure


def _draw_bands(axes: Axes, bands: Sequence[tuple[str, int, int]]) -> None:
    above = axes.get_xaxis_transform()
    for number, (domain, start, stop) in enumerate(bands):
        if number % 2:
            axes.axvspan(start, stop, color="0.92", linewidth=0, zorder=0)
        if len(bands) <= MAXIMUM_NAMED_BANDS:
            middle = (start + stop) / 2
            name = domain.replace("_", " ")
            axes.text(middle, 1.01, name, transform=above, rotation=60, fontsize=6)
