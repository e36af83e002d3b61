"""Accuracy against what it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from tta.errors import UserError
from tta.reporting.comparison import Comparison
from tta.reporting.pictures.style import marker_styles, new_figure
from tta.reporting.tables import as_metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COSTS = {
    "ms_per_image": "milliseconds per image",
    "passes": "forward and backward passes per image",
    "memory_mib": "peak memory (MiB)",
}


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
    for label, style in marker_styles(list(figures.index)).items():
        spread = None if pd.isna(figures["std"][label]) else 100 * figures["std"][label]
        axes.errorbar(
            figures[cost][label], values[label], spread, label=label, ls="", capsize=2, **style
        )
    axes.set_xlabel(COSTS[cost])
    axes.set_ylabel(f"mean {metric} (%)")
    if figures[cost].max() > 10 * figures[cost].min() > 0:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")  # powers of ten would be mathematical text
        axes.xaxis.set_minor_formatter(lambda value, position: "")
    figure.legend(loc="outside right upper")
    return figure


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
    figure = new_figure(width, 0.62 * width + 0.4)
    axes = figure.add_subplot()
    titles = pd.Series({row.label: row.summary["title"] for row in comparison.rows})
    groups = titles[uploading]
    styles = marker_styles([*dict.fromkeys(groups), *figures.index[~uploading]])
    for title, labels in groups.groupby(groups, sort=False).groups.items():
        share = (100 * figures["upload_fraction"][labels]).sort_values()
        axes.plot(share, values[share.index], label=title, **styles[title])
    _draw_levels(axes, values[~uploading], styles)
    axes.set_xlabel("images uploaded (%)")
    axes.set_ylabel(f"mean {metric} (%)")
    figure.legend(loc="outside right upper")
    return figure


def _draw_levels(axes: Axes, values: pd.Series, styles: dict[str, dict[str, str]]) -> None:
    dashes = [(2, 1), (4, 1), (1, 1), (6, 2), (4, 1, 1, 1)]
    for number, (label, value) in enumerate(values.items()):
        pattern = (0, dashes[number % len(dashes)])
        axes.axhline(value, label=label, color=styles[label]["color"], ls=pattern, linewidth=0.8)
