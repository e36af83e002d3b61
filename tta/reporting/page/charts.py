"""What the page's pictures are drawn of: figures and curves in percent, and marks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from tta.foundation.errors import UserError
from tta.reporting.comparing.comparison import Comparison
from tta.reporting.comparing.rows import Row
from tta.reporting.pictures.along_stream import curve_of_run, domain_bands
from tta.reporting.pictures.marks import COLOURS, LINES, MARKERS, dashes_of, places

MAXIMUM_POINTS = 800
"""Points of one curve; longer ones are thinned out evenly."""
DASHES = dict(
    zip(
        LINES,
        ("", "7 3", "12 3 2 3", "2 3", "10 2 2 2 2 2", "16 5", "1 6", "16 3 5 3", "3 2 3 8"),
        strict=True,
    )
)
"""The lines of pictures, as SVG has them."""
INK = "#000000"


def marks_of(comparison: Comparison) -> list[dict[str, str]]:
    """Return colour, dashes and marker by row, those of pictures; no colour is the page's ink."""
    found = places({row.label: row.summary["method"] for row in comparison.rows})
    return [_style(found[row.label]) for row in comparison.rows]


def _style(place: int) -> dict[str, str]:
    colour = COLOURS[place % len(COLOURS)]
    return {
        "color": "" if colour == INK else colour,
        "dash": DASHES[dashes_of(place)],
        "marker": MARKERS[place % len(MARKERS)],
    }


def figures_of(comparison: Comparison, row: Row) -> dict[str, Any]:
    """Return mean, deviation, errors by domain with the mean last, which are best, and costs."""
    figures = comparison.figures.loc[row.label]
    errors, best = comparison.errors.loc[row.label], comparison.best.loc[row.label]
    costs = {"passes": figures["forwards"] + figures["backwards"]}
    costs |= {name: figures[name] for name in ("ms_per_image", "memory_mib")}
    return {
        "mean": _plain(100 * figures["mean"]),
        "std": _plain(100 * figures["std"]),
        "errors": [_plain(100 * error) for error in [*errors, figures["mean"]]],
        "best": [bool(best[name]) for name in [*errors.index, "mean"]],
        "costs": {name: _plain(cost) for name, cost in costs.items()},
    }


def _plain(value: float) -> float | None:
    return None if pd.isna(value) else round(float(value), 4)


def curve_of(row: Row, window: int) -> dict[str, Any]:
    """Return the curve and bands of the first run, or why there is no curve, as ``fault``."""
    first = row.runs[0]
    try:
        batches = first.batches()
    except UserError as error:
        return {"curve": None, "bands": [], "fault": str(error)}
    visits = len(first.summary["domains"])
    points = curve_of_run(first, window)
    kept = np.unique(np.linspace(0, len(points) - 1, MAXIMUM_POINTS).astype(int))
    thinned = {
        "position": points["position"].iloc[kept].round().astype(int).tolist(),
        "running": (100 * points["running"]).iloc[kept].round(2).tolist(),
    }
    return {"curve": thinned, "bands": domain_bands(batches, visits), "fault": ""}
