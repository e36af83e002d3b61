"""Methods by domains, or by classes, as a heat map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from tta.foundation.errors import UserError
from tta.reporting.comparing.comparison import Comparison
from tta.reporting.comparing.comparison_tables import class_ious
from tta.reporting.pictures.style import new_figure
from tta.reporting.tables import as_metric
from tta.tasks.task import SEGMENTATION

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_heat_map(comparison: Comparison, metric: str, width: float) -> Figure:
    """Return the figures of every domain and their mean, the best and its ties in bold."""
    table = comparison.errors.assign(mean=comparison.figures["mean"])
    best = comparison.best[table.columns]
    figure, axes = _draw(100 * as_metric(table, metric), best, metric, width)
    axes.axvline(table.shape[1] - 1.5, color="white", linewidth=2)
    return figure


def draw_classes(comparison: Comparison, width: float) -> Figure:
    """Return the IoU of every class over the stream, the greatest in bold.

    Raises:
        UserError: the runs do not segment.
    """
    if comparison.task is not SEGMENTATION:
        raise UserError(f"no run can be shown: those of {comparison.title!r} do not segment")
    table = 100 * class_ious(comparison.rows)
    return _draw(table, table == table.max(), "IoU", width)[0]


def _draw(
    table: pd.DataFrame, bold: pd.DataFrame, metric: str, width: float
) -> tuple[Figure, Axes]:
    """Draw a number in each cell, of a colour that says the same."""
    values = table.to_numpy()
    rows, columns = values.shape
    figure = new_figure(width, 0.9 + 0.24 * rows)
    axes = figure.add_subplot()
    # Dark is much error; cividis is even in lightness, so it survives grey print.
    colours = "cividis_r" if metric == "error" else "cividis"
    image = axes.imshow(values, cmap=colours, aspect="auto")
    axes.set_xticks(
        range(columns),
        [str(name).replace("_", " ") for name in table.columns],
        rotation=45,
        ha="right",
        rotation_mode="anchor",
    )
    axes.set_yticks(range(rows), list(table.index))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    size = min(7.0, 0.72 * 72 * width / (columns + 4) / 2.4)
    for row, column in np.argwhere(~np.isnan(values)):
        red, green, blue, _ = image.cmap(image.norm(values[row, column]))
        dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
        axes.text(
            column,
            row,
            f"{values[row, column]:.1f}",
            ha="center",
            va="center",
            fontsize=size,
            color="white" if dark else "black",
            fontweight="bold" if bold.to_numpy()[row, column] else "normal",
        )
    figure.colorbar(image, label=f"{metric} (%)", fraction=0.03, pad=0.01)
    return figure, axes
