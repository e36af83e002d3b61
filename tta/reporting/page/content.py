"""What the page shows, as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import yaml

from tta.foundation.errors import UserError
from tta.foundation.text import printable
from tta.reporting.comparing.comparison import Comparison
from tta.reporting.comparing.comparison_tables import MISSING, source_data, unlike_notes
from tta.reporting.comparing.rows import Row
from tta.reporting.pictures.along_stream import curve, domain_bands
from tta.reporting.pictures.marks import COLOURS, places
from tta.reporting.tables import as_metric

MAXIMUM_POINTS = 1500
"""Points of one curve; longer ones are thinned out evenly."""
COLUMNS = {
    "pooled": ("pooled %", 100, 2),
    "rank": ("rank", 1, 2),
    "mean_ece": ("mean ECE %", 100, 2),
    "pooled_ece": ("pooled ECE %", 100, 2),
    "mean_nll": ("NLL", 1, 3),
    "mean_brier": ("Brier", 1, 3),
    "forwards": ("forwards", 1, 2),
    "backwards": ("backwards", 1, 2),
    "ms_per_image": ("ms", 1, 2),
    "source_ratio": ("time / source", 1, 2),
    "memory_mib": ("memory MiB", 1, 0),
    "upload_fraction": ("uploads %", 100, 2),
}
"""Figures after the mean: heading, factor and digits."""
DASHES = ("solid", "dash", "dashdot", "dot", "longdashdot")
"""Plotly's names of :data:`tta.reporting.pictures.marks.LINES`."""
INK = "#000000"
PROVENANCE = ("paper", "preset", "fingerprint", "stream_digest", "data_digest", "weights_sha256")


def section(comparison: Comparison, metric: str, window: int) -> dict[str, Any]:
    """Return the protocol, table, curves and details of one comparison."""
    protocol = comparison.protocol
    methods = [_method(comparison, row, metric, window) for row in comparison.rows]
    marks = places({row.label: row.summary["method"] for row in comparison.rows})
    for method in methods:
        method["style"] = _style(marks[method["label"]])
    return {
        "title": f"{protocol['dataset']}, {protocol['scenario']}, {protocol['backbone']}",
        "protocol": protocol,
        "metric": metric,
        "window": window,
        "columns": _columns(comparison),
        "notes": unlike_notes(comparison.rows),
        "bands": next((method["bands"] for method in methods if method["bands"]), []),
        "methods": methods,
    }


def _style(place: int) -> dict[str, str]:
    """Return colour and dashes as Plotly names them; no colour is the page's ink."""
    colour = COLOURS[place % len(COLOURS)]
    return {"color": "" if colour == INK else colour, "dash": DASHES[place % len(DASHES)]}


def _columns(comparison: Comparison) -> list[dict[str, Any]]:
    known = [{"name": COLUMNS[key][0], "domain": False} for key in _shown(comparison)]
    return known + [{"name": domain, "domain": True} for domain in comparison.domains]


def _shown(comparison: Comparison) -> list[str]:
    return [key for key in COLUMNS if comparison.figures[key].notna().any()]


def _method(comparison: Comparison, row: Row, metric: str, window: int) -> dict[str, Any]:
    figures = comparison.figures.loc[row.label]
    errors = comparison.errors.loc[row.label]
    best = comparison.best.loc[row.label]
    cells = []
    for key in _shown(comparison):
        _, factor, digits = COLUMNS[key]
        if key == "pooled":
            cells.append(_rate(figures[key], metric))
        else:
            cells.append(_cell(factor * figures[key], digits))
    cells += [_rate(errors[domain], metric, best[domain]) for domain in comparison.domains]
    return {
        "label": row.label,
        "predicts": row.summary["predicts"],
        "source": source_data(row),
        "seeds": str(len(row.runs)),
        "mean": _rate(figures["mean"], metric, best["mean"], figures["std"]),
        "cells": cells,
        "runs": [_run(row, number) for number in range(len(row.runs))],
        **_curve(row, metric, window),
    }


def _rate(error: float, metric: str, best: bool = False, deviation: float = np.nan) -> dict:
    spread = "" if pd.isna(deviation) else f" ± {100 * deviation:.2f}"
    return _cell(100 * as_metric(error, metric), 2, bool(best), spread)


def _cell(value: float, digits: int, best: bool = False, suffix: str = "") -> dict[str, Any]:
    if pd.isna(value):
        return {"value": "", "text": MISSING, "best": False}
    return {"value": float(value), "text": f"{value:.{digits}f}{suffix}", "best": best}


def _curve(row: Row, metric: str, window: int) -> dict[str, Any]:
    """Return the curve of the first run, or why there is none."""
    try:
        batches = row.runs[0].batches()
    except UserError as error:
        return {"curve": None, "bands": [], "fault": str(error)}
    visits = len(row.runs[0].summary["domains"])
    points = curve(batches, window, visits)
    kept = np.unique(np.linspace(0, len(points) - 1, MAXIMUM_POINTS).astype(int))
    running = 100 * as_metric(points["running"], metric)
    return {
        "curve": {
            "position": points["position"].iloc[kept].round(1).tolist(),
            "running": running.iloc[kept].round(3).tolist(),
        },
        "bands": domain_bands(batches, visits),
        "fault": "",
    }


def _run(row: Row, number: int) -> dict[str, Any]:
    run = row.runs[number]
    facts = {name: run.summary.get(name) for name in PROVENANCE}
    facts["record"] = printable(str(run.path))
    facts |= run.summary.get("environment", {})
    return {
        "seed": run.summary["seed"],
        "config": yaml.safe_dump(run.config, sort_keys=False) if run.config else "",
        "provenance": {
            name.replace("_", " "): str(value) for name, value in facts.items() if value
        },
    }


def sections(comparisons: Sequence[Comparison], metric: str, window: int) -> list[dict[str, Any]]:
    """Return one section per comparison; see :func:`section`."""
    return [section(comparison, metric, window) for comparison in comparisons]
