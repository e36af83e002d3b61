"""A published table as the YAML file of it says, and the runs that make its figures."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from tta.config import RunConfig, read_yaml
from tta.foundation.errors import UserError, did_you_mean
from tta.methods import METHODS
from tta.sweeps.publications import FIGURES

METRICS = {"error": "mean_error", "accuracy": "mean_accuracy", "mIoU": "mean_miou"}
"""Metrics of tables, and what run summaries call them."""
KEYS = ("dataset", "backbone", "scenario")
"""Columns of published.csv that are options of the runs, too."""


@dataclass(frozen=True)
class Row:
    """One published figure, and how to make it.

    Attributes:
        label: the method, and after a slash the variant of it.
        published: in percent.
        remarks: on the published figure.
        configs: one run per seed; none where the figure cannot be made here.
    """

    label: str
    published: float
    remarks: str
    configs: tuple[RunConfig, ...]


@dataclass(frozen=True)
class Table:
    """What a YAML file says.

    Attributes:
        title: heading.
        citation: whose figures, as published.csv has it.
        options: of every run, by field of RunConfig; ``weights`` lies below the data folder.
        metric: of the figures, one of :data:`METRICS`.
        rows: further options of single rows, by label. A variant without an entry is not run.
        seeds: one run each; the figure is their mean.
        weights_from: where the file of ``weights`` is published.
    """

    title: str
    citation: str
    options: dict[str, Any]
    metric: str = "error"
    rows: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    seeds: tuple[int, ...] = (1,)
    weights_from: str = ""


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _are_options(value: Any) -> bool:
    return isinstance(value, dict) and all(_is_text(value.get(key, "")) for key in _OWN)


def _are_rows(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    return all(row is None or _are_options(row) for row in value.values())


def _are_seeds(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(seed) is int for seed in value)


_OWN = (*KEYS, "weights")
_TEXT = (_is_text, "text")
_KINDS = {
    **dict.fromkeys(("title", "citation", "metric", "weights_from"), _TEXT),
    "options": (_are_options, f"options by name, of which {', '.join(_OWN)} are text"),
    "rows": (_are_rows, "options by label, as in 'options'"),
    "seeds": (_are_seeds, "a list of whole numbers"),
}
"""What the value of each key must be: a check, and in words."""


def read_table(path: Path) -> Table:
    """Return the table that a YAML file describes.

    Raises:
        UserError: it cannot be read, or holds something else.
    """
    values = read_yaml(path)
    for name in values:
        if name not in _KINDS:
            raise UserError(
                f"{str(path)!r} has an unknown key {name!r}; {did_you_mean(name, _KINDS)}"
            )
        fits, words = _KINDS[name]
        if not fits(values[name]):
            raise UserError(f"{str(path)!r}: {name} must be {words}")
    absent = [name for name in ("title", "citation", "options") if name not in values]
    absent += [f"options.{key}" for key in KEYS if key not in values.get("options", {})]
    if absent:
        raise UserError(f"{str(path)!r} lacks {', '.join(absent)}")
    if values.get("metric", "error") not in METRICS:
        raise UserError(f"{str(path)!r}: metric must be one of {', '.join(METRICS)}")
    return Table(**{**values, "seeds": tuple(values.get("seeds", (1,)))})


def published_figures() -> pd.DataFrame:
    """Return the papers' figures, one per row; empty cells are empty strings."""
    return pd.read_csv(FIGURES, dtype=str, keep_default_na=False).astype({"value": float})


def table_rows(table: Table, data_dir: str | None, origin: str) -> list[Row]:
    """Return the table's rows in the order of published.csv.

    Raises:
        UserError: no published figure belongs to the table, options for a row that it has not, or
            options that no run accepts.
    """
    figures = published_figures()
    chosen = (figures.citation == table.citation) & (figures.metric == table.metric)
    for key in KEYS:
        chosen &= figures[key] == table.options[key]
    figures = figures[chosen]
    if figures.empty:
        raise UserError(f"{origin}: {FIGURES.name} has no such figures of {table.citation!r}")
    labels = [_label(figure) for figure in figures.itertuples()]
    for label in table.rows:
        if label not in labels:
            raise UserError(f"{origin} has options for {label!r}; {did_you_mean(label, labels)}")
    return [
        Row(label, figure.value, figure.remarks, _configs(table, label, data_dir, origin))
        for label, figure in zip(labels, figures.itertuples(), strict=True)
    ]


def _label(figure: Any) -> str:
    return f"{figure.method}/{figure.variant}" if figure.variant else figure.method


def _configs(table: Table, label: str, data_dir: str | None, origin: str) -> tuple[RunConfig, ...]:
    method, _, variant = label.partition("/")
    if method not in METHODS or (variant and label not in table.rows):
        return ()
    options = {**table.options, **(table.rows.get(label) or {}), "method": method}
    if "weights" in options:
        folder = data_dir or os.environ.get("TTA_DATA_DIR", "$TTA_DATA_DIR")
        options["weights"] = str(Path(folder, options["weights"]))
    options["data_dir"] = data_dir
    return tuple(RunConfig.from_mapping({**options, "seed": seed}, origin) for seed in table.seeds)
