"""Error along the stream, domains as bands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tta.reporting.comparing.rows import Row
from tta.reporting.pictures.end_labels import heights, label_ends
from tta.reporting.pictures.marks import line_styles
from tta.reporting.pictures.style import new_figure
from tta.reporting.records.runs import Run
from tta.reporting.tables import as_metric
from tta.tasks.confusion import mean_iou

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAXIMUM_NAMED_BANDS = 40


def curve_of_run(run: Run, window: int) -> pd.DataFrame:
    """Return the :func:`curve` of a run."""
    batches, maps = run.batches(), run.matrices()
    matrices = None if maps is None else maps.matrix
    return curve(batches, window, len(run.summary["domains"]), matrices)


def curve(
    batches: pd.DataFrame, window: int, visits: int, matrices: np.ndarray | None = None
) -> pd.DataFrame:
    """Return ``position``, ``error`` per batch and its ``running`` mean within a domain.

    One row per batch, at its middle, and one at each end of a stretch of one domain, where
    ``error`` is NaN: a running mean starts anew with every domain, and holds for the whole of it.
    A batch of less than half the usual size, such as the rest of a domain, has no error of its
    own: that of one image is 0 or 1. Sizes are those of known images, which alone have errors.

    Args:
        batches: rows of ``batches.csv``.
        window: batches of the running mean, the latest ones, each weighted by its images.
        visits: of the stream to domains; where stretches are more, domains are interleaved, and
            the mean runs through.
        matrices: of the images ``[N, C, C + 1]`` where labels are maps: then the "error" is what
            the mIoU of the matrices' sum falls short of 1.
    """
    sizes, stretch = batches["size"], _stretches(batches, visits)
    window = min(window, len(batches))  # no more, and pandas takes no integer beyond 64 bits
    if matrices is None:
        rates = _error_rates(batches, stretch, window)
    else:
        rates = _map_rates(batches, stretch.to_numpy(), window, matrices)
    points = rates.assign(position=batches["position"] + sizes / 2, stretch=stretch)
    starts = points[~stretch.duplicated()].assign(position=batches["position"], error=np.nan)
    stops = points[~stretch.duplicated(keep="last")].assign(
        position=batches["position"] + sizes, error=np.nan
    )
    joined = pd.concat([starts, points, stops]).dropna(subset="running")
    joined = joined.sort_values(["stretch", "position"], kind="stable")
    return joined.drop(columns="stretch").reset_index(drop=True)


def _error_rates(batches: pd.DataFrame, stretch: pd.Series, window: int) -> pd.DataFrame:
    judged = batches.get("known", batches["size"])
    wrong = judged - batches["correct"]
    sums = pd.DataFrame({"wrong": wrong, "judged": judged}).groupby(stretch)
    sums = sums.rolling(window, min_periods=1).sum().droplevel(0)
    rate = (wrong / judged).where(judged >= max(1, judged.median() / 2))
    return pd.DataFrame({"error": rate, "running": sums["wrong"] / sums["judged"]})


def _map_rates(
    batches: pd.DataFrame, stretch: np.ndarray, window: int, matrices: np.ndarray
) -> pd.DataFrame:
    sizes = batches["size"].to_numpy()
    sums = np.add.reduceat(matrices, np.cumsum(sizes) - sizes, axis=0, dtype=np.int64)
    total = np.concatenate([np.zeros_like(sums[:1]), sums.cumsum(0)])
    numbers = np.arange(len(sizes))
    first = np.maximum(np.searchsorted(stretch, stretch), numbers - window + 1)
    running = mean_iou(total[numbers + 1] - total[first])
    return pd.DataFrame({"error": 1 - mean_iou(sums), "running": 1 - running}, batches.index)


def _stretches(batches: pd.DataFrame, visits: int) -> pd.Series:
    """Return the number, from 1, of the stretch of one domain and severity that each batch is in.

    All are in one where domains are interleaved.
    """
    place = batches[["domain", "severity"]].astype(str)
    first = (place != place.shift()).any(axis=1)
    interleaved = (first & (batches["domain"] != "mixed")).sum() > visits
    return first.cumsum() * 0 + 1 if interleaved else first.cumsum()


def domain_bands(batches: pd.DataFrame, visits: int) -> list[tuple[str, int, int]]:
    """Return (domain, start, stop) of the stretches of a stream that show one domain.

    One stretch where domains are interleaved; see :func:`curve`.
    """
    ends = batches["position"] + batches["size"]
    if _stretches(batches, visits).iloc[-1] == 1 and batches["domain"].nunique() > 1:
        return [("mixed", 0, int(ends.iloc[-1]))]
    starts = np.flatnonzero(batches["domain"] != batches["domain"].shift())
    stops = [*starts[1:], len(batches)]
    return [
        (str(batches["domain"][first]), int(batches["position"][first]), int(ends[last - 1]))
        for first, last in zip(starts, stops, strict=True)
    ]


def draw_along_stream(rows: Sequence[Row], metric: str, width: float, window: int) -> Figure:
    """Return per-batch curves (thin) and running means (thick) of each row's first run.

    A cross is where a run's outputs were not finite for the first time.
    """
    names = [row.label for row in rows]
    plot_height = max(0.32 * width, heights(names).sum())
    figure = new_figure(width, plot_height + 1.1)
    axes = figure.add_subplot()
    styles = line_styles({row.label: row.summary["method"] for row in rows})
    first = rows[0].runs[0]
    _draw_bands(axes, domain_bands(first.batches(), len(first.summary["domains"])))
    ends = {row.label: _draw_row(axes, row, metric, window, styles[row.label]) for row in rows}
    axes.set_xlabel("images seen")
    axes.set_ylabel(f"{metric} (%), mean of {window} batches")
    axes.set_ylim(bottom=0)
    axes.margins(x=0)
    label_ends(axes, ends, styles, plot_height)
    return figure


def _draw_row(
    axes: Axes, row: Row, metric: str, window: int, style: dict[str, Any]
) -> tuple[float, float]:
    """Draw the curves of a row's first run, and return where they end."""
    run = row.runs[0]
    points = curve_of_run(run, window)
    rates = 100 * as_metric(points[["error", "running"]], metric)
    positions, thin = points["position"], {"linewidth": 0.4, "alpha": 0.25}
    axes.plot(positions, rates["error"], color=style["color"], **thin)
    axes.plot(positions, rates["running"], label=row.label, **style)
    _mark_nonfinite(axes, row, positions, rates["running"])
    return positions.iloc[-1], rates["running"].iloc[-1]


def _mark_nonfinite(axes: Axes, row: Row, positions: pd.Series, rates: pd.Series) -> None:
    image = row.summary.get("nonfinite_at_image")
    if image is not None:
        rate = rates[(positions > image).idxmax()]
        axes.plot(image, rate, marker="x", color="0.2", markersize=6, zorder=5, linestyle="")


def _draw_bands(axes: Axes, bands: Sequence[tuple[str, int, int]]) -> None:
    above = axes.get_xaxis_transform()
    for number, (domain, start, stop) in enumerate(bands):
        if number % 2:
            axes.axvspan(start, stop, color="0.92", linewidth=0, zorder=0)
        if len(bands) <= MAXIMUM_NAMED_BANDS:
            middle = (start + stop) / 2
            name = domain.replace("_", " ")
            axes.text(middle, 1.01, name, transform=above, rotation=60, fontsize=6)
