"""Accuracy against what it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from tta.foundation.errors import UserError
from tta.reporting.comparing.comparison import Comparison
from tta.reporting.pictures.end_labels import heights, label_ends
from tta.reporting.pictures.marks import line_styles, marker_styles
from tta.reporting.pictures.style import new_figure
from tta.reporting.tables import as_metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COSTS = {
    "ms_per_image": "milliseconds per image",
    "passes": "forward and backward passes per image",
    "memory_mib": "peak memory (MiB)",
}


MANY_DECADES = 1e4
"""Ratio of costs from which powers of ten are enough along the axis."""


def pareto_front(costs: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the positions, cheapest first, of points that no cheaper point equals or betters.

    Args:
        costs: ``[N]``, less is better.
        values: ``[N]``, more is better.
    """
    order = np.lexsort((-values, costs))
    highest = np.maximum.accumulate(values[order])
    better = np.concatenate([[True], values[order][1:] > highest[:-1]])
    return order[better]


def draw_trade_off(comparison: Comparison, metric: str, cost: str, width: float) -> Figure:
    """Return accuracy (or error) against a cost of :data:`COSTS`, the Pareto front dashed.

    Raises:
        UserError: no run has recorded that cost.
    """
    figures = comparison.figures.assign(
        passes=comparison.figures["forwards"] + comparison.figures["backwards"]
    ).dropna(subset=[cost])
    if figures.empty:
        raise UserError(f"no run has recorded {COSTS[cost]}; run again with --force")
    values = 100 * as_metric(figures["mean"], metric)
    figure = new_figure(width, 0.62 * width + 0.4)
    axes = figure.add_subplot()
    front = pareto_front(figures[cost].to_numpy(), -figures["mean"].to_numpy())
    axes.step(figures[cost].iloc[front], values.iloc[front], where="post", color="0.6", ls="--")
    styles = marker_styles({row.label: row.summary["method"] for row in comparison.rows})
    for label in values.sort_values(ascending=False).index:  # the legend, from top to bottom
        spread = None if pd.isna(figures["std"][label]) else 100 * figures["std"][label]
        point = figures[cost][label], values[label]
        axes.errorbar(*point, spread, label=label, ls="", capsize=2, **styles[label])
    axes.set_xlabel(COSTS[cost])
    axes.set_ylabel(f"mean {metric} (%)")
    if figures[cost].max() > 10 * figures[cost].min() > 0:
        _scale_by_logarithm(axes, figures[cost].max() / figures[cost].min())
    figure.legend(loc="outside right upper")
    return figure


def _scale_by_logarithm(axes: Axes, ratio: float) -> None:
    """Make the x-axis logarithmic, with at least three numbers along it."""
    from matplotlib.ticker import LogLocator

    axes.set_xscale("log")
    axes.set_xlabel(f"{axes.get_xlabel()}, logarithmic")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if ratio < MANY_DECADES else (1,)))
    axes.xaxis.set_major_formatter("{x:g}")  # powers of ten would be mathematical text
    axes.xaxis.set_minor_formatter(lambda value, position: "")


def draw_uploads(comparison: Comparison, metric: str, width: float) -> Figure:
    """Return accuracy (or error) against the share of images uploaded, on a line per method.

    Methods that upload nothing are level lines.

    Raises:
        UserError: no run uploads.
    """
    figures = comparison.figures
    uploading = figures["upload_fraction"].notna()
    if not uploading.any():
        raise UserError("none of these runs uploads images; run --method cema")
    values = 100 * as_metric(figures["mean"], metric)
    titles = pd.Series({row.label: row.summary["title"] for row in comparison.rows})
    methods = pd.Series({row.label: row.summary["method"] for row in comparison.rows})
    names = titles.where(uploading, titles.index)  # a line has its title, a level its label
    height = max(0.62 * width, heights(names.unique()).sum())
    figure = new_figure(width, height + 0.4)
    axes = figure.add_subplot()
    dashes = line_styles(dict(zip(names, methods, strict=True)))
    markers = marker_styles(dict(zip(names, methods, strict=True)))
    ends = {}
    for title, labels in titles[uploading].groupby(titles[uploading], sort=False).groups.items():
        share = (100 * figures["upload_fraction"][labels]).sort_values()
        axes.plot(share, values[share.index], label=title, **markers[title])
        ends[title] = (share.iloc[-1], values[share.index[-1]])
        dashes[title]["linestyle"] = "-"
    for label, value in values[~uploading].items():
        axes.axhline(value, label=label, linewidth=0.8, **dashes[label])
        ends[label] = (axes.get_xlim()[1], value)
    axes.set_xlabel("images uploaded (%)")
    axes.set_ylabel(f"mean {metric} (%)")
    label_ends(axes, ends, dashes, height)
    return figure
