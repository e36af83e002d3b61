"""Error of every visit, where domains come back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from tta.foundation.errors import UserError
from tta.reporting.comparing.rows import Row
from tta.reporting.pictures.end_labels import heights, label_ends
from tta.reporting.pictures.marks import line_styles
from tta.reporting.pictures.style import new_figure
from tta.reporting.tables import as_metric

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def errors_of(row: Row) -> pd.Series:
    """Return the error of each visit, counted from 1: the mean over the row's runs, a fraction."""
    visits = [pd.Series(run.summary.get("visits", []), dtype=float) for run in row.runs]
    errors = row.task.shortfall(pd.DataFrame(visits).mean())
    return errors.set_axis(range(1, len(errors) + 1))


def draw_visits(rows: Sequence[Row], metric: str, width: float) -> Figure:
    """Return a line for each row of the error, or accuracy, of every visit.

    Raises:
        UserError: in no row do domains come back.
    """
    errors = {row.label: errors_of(row) for row in rows}
    errors = {label: found for label, found in errors.items() if len(found)}
    if not errors:
        raise UserError(
            "no run can be shown: in none of them do domains come back, as in --scenario recurring"
        )
    plot_height = max(0.45 * width, heights(list(errors)).sum())
    figure = new_figure(width, plot_height + 0.6)
    axes = figure.add_subplot()
    styles = line_styles({row.label: row.summary["method"] for row in rows})
    ends = {}
    for label, found in errors.items():
        rates = 100 * as_metric(found, metric)
        axes.plot(rates.index, rates, **styles[label])
        ends[label] = rates.last_valid_index(), rates.dropna().iloc[-1]
    axes.set_xlabel("visit")
    axes.set_ylabel(f"{metric} (%), mean over domains")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_ylim(bottom=0)
    axes.margins(x=0)
    label_ends(axes, ends, styles, plot_height)
    return figure
