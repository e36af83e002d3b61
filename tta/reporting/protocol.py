"""What runs must share to stand in one table."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from tta.errors import UserError
from tta.reporting.records import Run

SUMMARY_FACTS = (
    "dataset",
    "data_digest",
    "scenario",
    "backbone",
    "weights_sha256",
    "batch_size",
)
STREAM_OPTIONS = (
    "severity",
    "domains",
    "num_samples",
    "dirichlet",
    "zipf",
    "contiguous_batches",
)
"""Options that decide the stream, beside the seed; read from ``config.yaml``."""


def by_protocol(runs: Sequence[Run], split: bool) -> list[list[Run]]:
    """Return groups of runs of one protocol each: all but the seed is the same.

    Raises:
        UserError: there are several, and ``split`` is off.
    """
    groups = defaultdict(list)
    for run in runs:
        groups[_key(run)].append(run)
    protocols = [part for group in groups.values() for part in _by_stream(group)]
    if len(protocols) > 1 and not split:
        raise UserError(
            f"these runs cannot stand in one table: they differ in {differences(protocols)}; "
            "name runs of one protocol, or pass --split for a table each"
        )
    return protocols


def _facts(run: Run) -> dict[str, str]:
    facts = {name: run.summary[name] for name in SUMMARY_FACTS}
    options = {name: run.config.get(name) for name in STREAM_OPTIONS}
    return {name: json.dumps(value, default=str) for name, value in (facts | options).items()}


def _key(run: Run) -> tuple[str, ...]:
    return tuple(_facts(run).values())


def _by_stream(runs: list[Run]) -> list[list[Run]]:
    """Return the runs as one group, or by stream where a seed has seen several streams."""
    digests = defaultdict(set)
    for run in runs:
        digests[run.summary["seed"]].add(run.summary["stream_digest"])
    if all(len(found) == 1 for found in digests.values()):
        return [runs]
    groups = defaultdict(list)
    for run in runs:
        groups[run.summary["stream_digest"]].append(run)
    return list(groups.values())


def differences(protocols: Sequence[Sequence[Run]]) -> str:
    """Return the names of the facts in which protocols differ."""
    facts = [_facts(runs[0]) for runs in protocols]
    names = [name for name in facts[0] if len({fact[name] for fact in facts}) > 1]
    return ", ".join(names or ["stream_digest"]).replace("_", " ")


def describe(runs: Sequence[Run]) -> dict[str, str]:
    """Return the protocol that runs share, in words."""
    summary = runs[0].summary
    seeds = sorted({run.summary["seed"] for run in runs})
    digests = {run.summary["seed"]: run.summary["stream_digest"][:12] for run in runs}
    return {
        "dataset": summary["dataset"],
        "scenario": summary["scenario"],
        "images per domain": _images(summary),
        "severity": ", ".join(sorted({str(row.get("severity")) for row in summary["domains"]})),
        "batch size": str(summary["batch_size"]),
        "reset": _reset_policy(summary),
        "backbone": summary["backbone"],
        "weights": summary["weights_sha256"][:12],
        "seeds": ", ".join(map(str, seeds)),
        "stream": ", ".join(dict.fromkeys(digests[seed] for seed in seeds)),
    }


def _images(summary: dict[str, Any]) -> str:
    visits = [row["samples"] for row in summary["domains"]]
    fewest, most = min(visits), max(visits)
    size = str(fewest) if fewest == most else f"{fewest} to {most}"
    visited = len(visits) / len({row["domain"] for row in summary["domains"]})
    return size if visited == 1 else f"{size} at each of {visited:.3g} visits"


def _reset_policy(summary: dict[str, Any]) -> str:
    resets = summary.get("resets")
    if resets is None:
        return "as the scenario says"
    return f"{resets} times, before domains" if resets else "never"
