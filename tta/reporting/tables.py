"""Tables for people: Markdown that also reads well on a terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tta.foundation.text import markdown_text, printable_lines


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """Return an aligned Markdown table; columns of numbers are right-aligned."""
    cells = [[markdown_text(cell) for cell in row] for row in (header, *rows)]
    widths = [max(3, *(len(row[column]) for row in cells)) for column in range(len(header))]
    numeric = numeric_columns(rows, len(header))
    rule = [
        "-" * (width - 1) + ":" if right else "-" * width
        for width, right in zip(widths, numeric, strict=True)
    ]
    lines = [_line(row, widths, numeric) for row in (cells[0], rule, *cells[1:])]
    return "\n".join(lines)


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


def percent(fraction: float) -> str:
    """Return a fraction as percent with two digits."""
    return f"{100 * fraction:.2f}"


def as_metric(error: Any, metric: str) -> Any:
    """Return error rates as ``error`` or ``accuracy``; accuracies, the other way round.

    Args:
        error: fractions: a number, a series or a table.
        metric: ``error`` or ``accuracy``.
    """
    return error if metric == "error" else 1 - error


def domain_table(summary: dict[str, Any]) -> str:
    """Return the per-domain table of one run, with what the method counts."""
    counters = list(summary["counters"])
    rows = [
        [
            domain["domain"],
            str(domain["severity"]),
            str(domain["samples"]),
            percent(domain["accuracy"]),
            percent(domain["error"]),
            *_counted(domain, counters),
        ]
        for domain in summary["domains"]
    ]
    rows.append(
        [
            "**mean over domains**",
            "",
            str(summary["samples"]),
            percent(summary["mean_accuracy"]),
            percent(summary["mean_error"]),
            *[""] * len(_counted_header(counters)),
        ]
    )
    pooled = summary["pooled_error"]
    totals = {**summary["counters"], "upload_fraction": summary.get("upload_fraction")}
    rows.append(
        [
            "pooled",
            "",
            str(summary["samples"]),
            percent(1 - pooled),
            percent(pooled),
            *_counted(totals, counters),
        ]
    )
    header = ["domain", "severity", "n", "accuracy %", "error %", *_counted_header(counters)]
    return markdown(header, rows)


def _counted_header(counters: list[str]) -> list[str]:
    header = [name.replace("_bytes", "_KiB").replace("_", " ") for name in counters]
    return [*header, "upload %"] if "uploads" in counters else header


def _counted(row: dict[str, Any], counters: list[str]) -> list[str]:
    cells = [
        f"{row[name] / 1024:.1f}" if name.endswith("_bytes") else str(row[name])
        for name in counters
    ]
    return [*cells, percent(row["upload_fraction"])] if "uploads" in counters else cells


def _cloud(summary: dict[str, Any]) -> str:
    return f" with {summary['cloud_backbone']} in the cloud" if summary["cloud_backbone"] else ""


def run_report(summary: dict[str, Any], metric: str) -> str:
    """Return what a run prints: its table, figures, provenance and where the record is."""
    cost = summary["cost"]
    lines = [
        domain_table(summary),
        "",
        f"{summary['method']} on {summary['dataset']}, {summary['scenario']}, "
        f"{summary['backbone']}{_cloud(summary)}; predicts {summary['predicts']} the update; "
        f"batch {summary['batch_size']}, seed {summary['seed']}",
        f"hyper-parameters: {summary['preset']}",
        f"mean {metric} {percent(summary[f'mean_{metric}'])} %; "
        f"{cost['images_per_second']:.0f} images/s; "
        f"peak memory {cost['peak_memory_bytes'] / 2**20:.0f} MiB; "
        f"prepared in {cost['prepare_seconds']:.1f} s, streamed in {cost['stream_seconds']:.1f} s",
        f"stream {summary['stream_digest'][:16]}  weights {summary['weights_sha256'][:16]}",
        f"record: {summary['path']}",
    ]
    if summary.get("precision_reason"):
        lines.insert(-1, f"precision: {summary['precision']}, {summary['precision_reason']}")
    if summary["reused"]:
        lines.append("this run was finished before; --force runs it again")
    return printable_lines("\n".join(lines))
