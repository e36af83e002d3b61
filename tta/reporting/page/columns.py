"""The columns of the page's tables, and their cells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from tta.reporting.comparing.comparison import Comparison
from tta.reporting.comparing.comparison_tables import MISSING, VISITS, p_value, source_data
from tta.reporting.comparing.rows import Row
from tta.reporting.tables import as_metric
from tta.tasks.metric import RunFigure
from tta.tasks.segmentation import MIOU
from tta.tasks.summary_figures import PROTOCOL_FIGURES, SummaryFigure
from tta.tasks.task import ALL_FIGURES, SEGMENTATION, Task

Cell = dict[str, Any]
"""``text``; ``value`` to sort by, empty where unknown; ``best``; of rates and their differences,
which the page also shows as accuracy, ``error`` and ``accuracy`` instead of ``text``."""
Maker = Callable[[Comparison, Row], Cell]
EMPTY: Cell = {"value": "", "text": MISSING}


@dataclass(frozen=True)
class Column:
    """A column that can be ticked.

    Attributes:
        heading: what stands above it.
        cell: makes its cell of a row.
        shown: whether it is ticked at first.
        number: whether it is aligned to the right.
    """

    heading: str
    cell: Maker
    shown: bool = True
    number: bool = True


def number_cell(value: float, digits: int, factor: float = 1) -> Cell:
    """Return the cell of a number; a dash where it is not known."""
    if pd.isna(value):
        return EMPTY
    return {"value": float(factor * value), "text": f"{factor * value:.{digits}f}"}


def rate_cell(task: Task, error: float, best: bool = False) -> Cell:
    """Return the cell of an error rate, a fraction, that is shown in percent.

    Where the headline is another figure, it is shown whichever is asked for.
    """
    if pd.isna(error):
        return EMPTY
    called = {metric: task.called(metric) for metric in ("error", "accuracy")}
    texts = {metric: f"{100 * as_metric(error, name):.2f}" for metric, name in called.items()}
    return {"value": float(error), "best": bool(best), **texts}


def _word(text: str) -> Cell:
    return {"value": text, "text": text}


def _figure(name: str, digits: int, factor: float = 1) -> Maker:
    return lambda comparison, row: number_cell(
        comparison.figures.loc[row.label].get(name), digits, factor
    )


def _pooled(comparison: Comparison, row: Row) -> Cell:
    return rate_cell(comparison.task, comparison.figures.loc[row.label, "pooled"])


def _visit(name: str) -> Maker:
    """Return the maker of an error of one visit; empty in streams in which no domain comes back."""

    def cell(comparison: Comparison, row: Row) -> Cell:
        if name not in comparison.figures:
            return EMPTY
        return rate_cell(comparison.task, comparison.figures.loc[row.label, name])

    return cell


def _test(comparison: Comparison, row: Row, name: str) -> float:
    tests = comparison.tests
    known = row.label in tests.index and name in tests
    return tests.loc[row.label, name] if known else float("nan")


def _difference(comparison: Comparison, row: Row) -> Cell:
    value = _test(comparison, row, "difference")
    if pd.isna(value):
        return EMPTY
    return {
        "value": float(value),
        "error": f"{100 * comparison.task.change(value):+.2f}",
        "accuracy": f"{-100 * value:+.2f}",
    }


def _interval(comparison: Comparison, row: Row) -> Cell:
    low, high = (100 * _test(comparison, row, name) for name in ("low", "high"))
    if pd.isna(low):
        return EMPTY
    accuracy = f"{-high:+.2f} to {-low:+.2f}"
    lower = comparison.task.headline.better == "lower"
    error = f"{low:+.2f} to {high:+.2f}" if lower else accuracy
    return {"value": low, "error": error, "accuracy": accuracy}


def _p(name: str) -> Maker:
    def cell(comparison: Comparison, row: Row) -> Cell:
        value = _test(comparison, row, name)
        return EMPTY if pd.isna(value) else {"value": float(value), "text": p_value(value)}

    return cell


def _run_figure(figure: RunFigure) -> Column:
    metric = figure.metric
    maker = _figure(figure.name, metric.digits, 100 if metric.percent else 1)
    return Column(figure.header, maker, shown=metric.shown and not figure.pooled)


def _protocol_figure(figure: SummaryFigure) -> Column:
    maker = _figure(figure.name, figure.digits, 100 if figure.percent else 1)
    return Column(figure.header, maker, shown=False)


_MAP_FIGURES = [figure for figure in SEGMENTATION.figures if figure.metric is not MIOU]
COLUMNS = {
    "std": Column("± points", _figure("std", 2, 100)),
    "marks": Column("marks", lambda _, row: _word(", ".join(row.marks)), number=False),
    "pooled": Column("pooled %", _pooled),
    **{name: Column(f"{header} %", _visit(name)) for name, header in VISITS.items()},
    "rank": Column("rank", _figure("rank", 2)),
    "difference": Column("difference", _difference),
    "interval": Column("95 % interval", _interval, shown=False),
    "p_bootstrap": Column("p bootstrap", _p("p_bootstrap")),
    "p_mcnemar": Column("p McNemar", _p("p_mcnemar")),
    "p_images": Column("p images", _p("p_images")),
    "predicts": Column(
        "predicts", lambda _, row: _word(row.summary["predicts"]), shown=False, number=False
    ),
    "source_data": Column(
        "source data", lambda _, row: _word(source_data(row)), shown=False, number=False
    ),
    "seeds": Column("seeds", lambda _, row: number_cell(len(row.runs), 0)),
    "written": Column(
        "written (UTC)", lambda _, row: _word(max(run.written for run in row.runs)), number=False
    ),
    **{figure.name: _run_figure(figure) for figure in _MAP_FIGURES},
    **{figure.name: _run_figure(figure) for figure in ALL_FIGURES},
    **{figure.name: _protocol_figure(figure) for figure in PROTOCOL_FIGURES},
    "forwards": Column("forwards", _figure("forwards", 2), shown=False),
    "backwards": Column("backwards", _figure("backwards", 2), shown=False),
    "ms_per_image": Column("ms", _figure("ms_per_image", 2)),
    "source_ratio": Column("time / source", _figure("source_ratio", 2)),
    "memory_mib": Column("memory MiB", _figure("memory_mib", 0)),
    "upload_fraction": Column("uploads %", _figure("upload_fraction", 2, 100)),
}
"""After name, mean and domains; :class:`Column` by the name it has in the page's address."""
DOMAINS = "domains"
"""Name, in the page's address, of all columns of single domains."""


def known_columns(comparison: Comparison) -> list[str]:
    """Return which of :data:`COLUMNS` hold anything."""
    return [
        name
        for name, column in COLUMNS.items()
        if any(column.cell(comparison, row)["value"] != "" for row in comparison.rows)
    ]
