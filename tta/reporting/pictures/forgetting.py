"""Accuracy on clean images along the stream: what adapting makes a method forget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tta.foundation.errors import UserError
from tta.reporting.comparing.rows import Row
from tta.reporting.pictures.end_labels import heights, label_ends
from tta.reporting.pictures.marks import line_styles
from tta.reporting.pictures.style import new_figure
from tta.reporting.tables import as_metric

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_forgetting(rows: Sequence[Row], metric: str, width: float) -> Figure:
    """Return a curve per row's first run: clean images before the stream and after each domain.

    Raises:
        UserError: no run has probed clean images.
    """
    probed = [row for row in rows if (row.runs[0].summary.get("probe") or {}).get("after")]
    if not probed:
        raise UserError("none of these runs has probed clean images; run with --probe source")
    height = max(0.45 * width, heights([row.label for row in probed]).sum())
    figure = new_figure(width, height + 0.6)
    axes = figure.add_subplot()
    styles = line_styles({row.label: row.summary["method"] for row in probed})
    ends = {}
    for row in probed:
        probe = row.runs[0].summary["probe"]
        positions = [0, *probe["positions"]]
        errors = [1 - accuracy for accuracy in (probe["start"], *probe["after"])]
        values = [100 * as_metric(error, metric) for error in errors]
        axes.plot(positions, values, label=row.label, marker=".", **styles[row.label])
        ends[row.label] = (positions[-1], values[-1])
    axes.set_xlabel("images seen")
    axes.set_ylabel(f"{metric} on clean images (%)")
    axes.margins(x=0)
    axes.set_ylim(axes.get_ylim())  # final, as names are placed by them
    label_ends(axes, ends, styles, height)
    return figure
