"""Methods by domains as a heat map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tta.reporting.comparing.comparison import Comparison
from tta.reporting.pictures.style import new_figure
from tta.reporting.tables import as_metric

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_heat_map(comparison: Comparison, metric: str, width: float) -> Figure:
    """Return the figures of every domain and their mean, the best and its ties in bold."""
    table = comparison.errors.assign(mean=comparison.figures["mean"])
    values = 100 * as_metric(table, metric).to_numpy()
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
    axes.axvline(columns - 1.5, color="white", linewidth=2)
    size = min(7.0, 0.72 * 72 * width / (columns + 4) / 2.4)
    best = comparison.best[table.columns].to_numpy()
    for row, column in np.ndindex(rows, columns):
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
            fontweight="bold" if best[row, column] else "normal",
        )
    figure.colorbar(image, label=f"{metric} (%)", fraction=0.03, pad=0.01)
    return figure
