"""What the page shows, as plain values."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import yaml

from tta.foundation.text import printable
from tta.reporting.comparing.comparison import Comparison
from tta.reporting.comparing.comparison_tables import class_ious, row_notes
from tta.reporting.comparing.rows import Row
from tta.reporting.comparing.statistics import MINIMUM_DOMAINS
from tta.reporting.page.charts import curve_of, figures_of, marks_of
from tta.reporting.page.columns import COLUMNS, known_columns, rate_cell
from tta.reporting.tables import percent
from tta.tasks.metric import ERROR
from tta.tasks.task import SEGMENTATION

PROVENANCE = ("paper", "preset", "fingerprint", "stream_digest", "data_digest", "weights_sha256")


def section(comparison: Comparison, window: int) -> dict[str, Any]:
    """Return the protocol, table, pictures and details of one comparison.

    Args:
        comparison: runs of one protocol.
        window: batches of the running mean along the stream.
    """
    key = _key(comparison.title)
    known = known_columns(comparison)
    styles = marks_of(comparison)
    methods = [
        _method(comparison, row, known, window) | {"key": _key(key, row.label), "style": style}
        for row, style in zip(comparison.rows, styles, strict=True)
    ]
    return {
        "key": key,
        "title": comparison.title,
        "file": re.sub(r"[^\w.-]+", "-", comparison.title).strip("-")[:100] + ".csv",
        "protocol": comparison.protocol,
        "metric": "" if comparison.task.headline is ERROR else comparison.called(""),
        "classes": _classes(comparison),
        "window": window,
        "domains": comparison.domains,
        "columns": known,
        "notes": [*_test_notes(comparison), *row_notes(comparison.rows)],
        "bands": next((method["bands"] for method in methods if method["bands"]), []),
        "methods": methods,
    }


def _key(*texts: str) -> str:
    """Return what stands for a protocol or a row in the page's address."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:8]


def _test_notes(comparison: Comparison) -> list[str]:
    if len(comparison.tests) == 0:
        return []
    of_images = (
        "bootstrap over images" if "p_images" in comparison.tests else "McNemar's exact test"
    )
    return [
        f"Difference and p-values: against {comparison.reference.label}; bootstrap over seeds and "
        f"domains (from {MINIMUM_DOMAINS} domains on), {of_images}; Holm-corrected."
    ]


def _classes(comparison: Comparison) -> dict[str, list[str]]:
    """Return the IoU of each class by name, in percent, one per row; empty without any."""
    if comparison.task is not SEGMENTATION:
        return {}
    found = class_ious(comparison.rows)
    return {str(name): list(map(percent, values)) for name, values in found.items()}


def _method(comparison: Comparison, row: Row, known: list[str], window: int) -> dict[str, Any]:
    errors, best = comparison.errors.loc[row.label], comparison.best.loc[row.label]
    task = comparison.task
    return {
        "label": row.label,
        "mean_cell": rate_cell(task, comparison.figures.loc[row.label, "mean"], best["mean"]),
        "domain_cells": [rate_cell(task, errors[name], best[name]) for name in comparison.domains],
        "cells": [COLUMNS[name].cell(comparison, row) for name in known],
        "warnings": row.warnings,
        "nonfinite_at": row.summary.get("nonfinite_at_image"),
        "runs": [_run(row, number) for number in range(len(row.runs))],
        **figures_of(comparison, row),
        **curve_of(row, window),
    }


def _run(row: Row, number: int) -> dict[str, Any]:
    run = row.runs[number]
    facts = {"written": f"{run.written} UTC"}
    facts |= {name: run.summary.get(name) for name in PROVENANCE}
    facts["record"] = printable(str(run.path))
    facts |= run.summary.get("environment", {})
    return {
        "seed": run.summary["seed"],
        "config": yaml.safe_dump(run.config, sort_keys=False) if run.config else "",
        "provenance": {
            name.replace("_", " "): str(value) for name, value in facts.items() if value
        },
    }
