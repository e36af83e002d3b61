"""Several runs in one table, as long as they saw the same stream."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from tta.errors import UserError
from tta.reporting.run_directory import RunDirectory
from tta.reporting.tables import markdown, percent

PROTOCOL = ("dataset", "data_digest", "stream_digest", "backbone", "weights_sha256")
"""What runs of one table must share."""


def find_runs(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Return the summaries of run directories, and of all those below other folders.

    Raises:
        UserError: a path that holds no run.
    """
    summaries = []
    for path in paths:
        files = [path / "summary.json"] if (path / "summary.json").exists() else []
        files = files or sorted(path.rglob("summary.json"))
        if not files:
            raise UserError(
                f"{str(path)!r} holds no run; name a folder that tta.run has written to"
            )
        summaries += [RunDirectory.read_summary(file.parent) for file in files]
    return summaries


def comparison(summaries: Sequence[dict[str, Any]], metric: str, split: bool = False) -> str:
    """Return a Markdown table of methods by domains, in percent, with its protocol below.

    Raises:
        UserError: the runs saw unlike streams, data or models, and ``split`` is off.
    """
    tables = _by_protocol(summaries)
    if len(tables) > 1 and not split:
        raise UserError(_difference(list(tables)))
    return "\n\n".join(_table(runs, metric) for runs in tables.values())


def _by_protocol(
    summaries: Iterable[dict[str, Any]],
) -> dict[tuple[str, ...], list[dict[str, Any]]]:
    tables = defaultdict(list)
    for summary in summaries:
        tables[tuple(str(summary[key]) for key in PROTOCOL)].append(summary)
    return tables


def _difference(protocols: list[tuple[str, ...]]) -> str:
    differing = [
        name
        for name, values in zip(PROTOCOL, zip(*protocols, strict=True), strict=True)
        if len(set(values)) > 1
    ]
    return (
        f"these runs cannot stand in one table: they differ in {', '.join(differing)}; "
        "name runs of one stream, or pass --split for a table each"
    )


def _table(runs: list[dict[str, Any]], metric: str) -> str:
    runs = sorted(runs, key=lambda run: run["mean_error"])
    frame = pd.DataFrame([_means(run, metric) for run in runs])
    rows = [
        [_label(run, runs), run["predicts"], *map(percent, figures)]
        for run, figures in zip(runs, frame.to_numpy(), strict=True)
    ]
    table = markdown(["method", "predicts", *frame.columns], rows)
    return f"{table}\n\n{_footer(runs[0], metric)}"


def _means(run: dict[str, Any], metric: str) -> pd.Series:
    domains = pd.DataFrame(run["domains"]).groupby("domain", sort=False)[metric].mean()
    return pd.concat([domains, pd.Series({"mean": run[f"mean_{metric}"]})])


def _label(run: dict[str, Any], runs: list[dict[str, Any]]) -> str:
    """Return the method's name, with what tells it from its namesakes."""
    label = run["title"] + ("" if run["finished"] else " (unfinished)")
    namesakes = [other for other in runs if other["method"] == run["method"]]
    params = [
        f"{name}={value}"
        for name, value in run["params"].items()
        if any(other["params"].get(name) != value for other in namesakes)
    ]
    facts = [
        f"{name.replace('_', ' ')} {run[name]}"
        for name in ("batch_size", "seed", "precision")
        if any(other[name] != run[name] for other in namesakes)
    ]
    return f"{label} ({', '.join([*params, *facts])})" if params or facts else label


def _footer(run: dict[str, Any], metric: str) -> str:
    severities = sorted({str(domain["severity"]) for domain in run["domains"]})
    sizes = sorted({domain["samples"] for domain in run["domains"]})
    images = str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    return (
        f"online {metric} in %; {run['dataset']}, {run['scenario']}, {images} images per domain, "
        f"severity {', '.join(severities)}, batch {run['batch_size']}; {run['backbone']} "
        f"(weights {run['weights_sha256'][:12]}); stream {run['stream_digest'][:12]}"
    )
