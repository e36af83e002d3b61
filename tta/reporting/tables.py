"""Tables for people: Markdown that also reads well on a terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tta.foundation.text import markdown_text

MISSING = "–"


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """Return an aligned Markdown table; columns of numbers are right-aligned."""
    return "\n".join(aligned([header], rows))


def aligned(head: list[list[str]], rows: list[list[str]]) -> list[str]:
    """Return the lines of such a table; where its head is not of one line, it is no Markdown."""
    cells = [[markdown_text(cell) for cell in row] for row in (*head, *rows)]
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
    numeric = numeric_columns(rows, len(widths))
    rule = [
        "-" * (width - 1) + ":" if right else "-" * width
        for width, right in zip(widths, numeric, strict=True)
    ]
    shown = (*cells[: len(head)], rule, *cells[len(head) :])
    return [_line(row, widths, numeric) for row in shown]


def numeric_columns(rows: Sequence[Sequence[str]], count: int) -> list[bool]:
    """Return which of ``count`` columns hold numbers alone, of however many rows."""
    return [all(is_number(row[column]) for row in rows) for column in range(count)]


def _line(row: list[str], widths: list[int], right: list[bool]) -> str:
    padded = [
        cell.rjust(width) if is_right else cell.ljust(width)
        for cell, width, is_right in zip(row, widths, right, strict=True)
    ]
    return "| " + " | ".join(padded) + " |"


def is_number(cell: str) -> bool:
    """Return whether a cell shows a number, an interval, or that there is none."""
    return not re.sub(r"[\s*%±+\-–.,:<\d]|to", "", cell)


def percent(fraction: float | None) -> str:
    """Return a fraction as percent with two digits; a dash where it is not known."""
    return MISSING if fraction is None or fraction != fraction else f"{100 * fraction:.2f}"


def as_metric(error: Any, metric: str) -> Any:
    """Return error rates as ``error`` or ``accuracy``; accuracies, the other way round.

    Args:
        error: fractions: a number, a series or a table. Also what another figure, 1 at best, falls
            short of that.
        metric: ``error``, ``accuracy`` or that other figure, see
            :meth:`tta.tasks.task.Task.called`.
    """
    return error if metric == "error" else 1 - error
