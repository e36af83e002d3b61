"""Rows of a comparison: one method with one set of hyper-parameters, over its seeds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from tta.config import RunConfig
from tta.foundation.unlike import as_text, unlike
from tta.reporting.records.runs import Matrices, Run, Samples
from tta.tasks.task import Task

FACTS = ("precision", "window", "cloud_backbone", "on_nonfinite")
DIGESTS = ("source_digest", "cloud_weights_sha256")
LATER = {
    name: getattr(RunConfig, name)
    for name in (
        "deterministic",
        "compile",
        "fold",
        "score",
        "cost",
        "reset_rule",
        "estimate_dropout",
        "loss_size",
    )
}
"""Defaults of options that older records have not."""
OPTIONS = (
    "upload_budget",
    "link_latency",
    "link_bandwidth",
    "batch_interval",
    "source",
    "cloud_weights",
    "memory_format",
    "on_nonfinite",
    *LATER,
)
"""What namesakes may differ in beside their hyper-parameters: in the summary, in the options.

The first four are hyper-parameters now; in older records they are options."""
MACHINE = ("device", "device_name", "threads")
"""What time and memory depend on, in a summary's ``environment``."""


@dataclass(frozen=True)
class Row:
    """Runs that differ in nothing but their seed.

    Attributes:
        label: what tables call it; no two rows of a table have the same.
        runs: in order of their seeds.
    """

    label: str
    runs: tuple[Run, ...]

    @property
    def summary(self) -> dict[str, Any]:
        """Summary of the first run, for what all of them share."""
        return self.runs[0].summary

    @property
    def finished(self) -> bool:
        """Whether every run came to its end."""
        return all(run.summary.get("finished", False) for run in self.runs)

    @cached_property
    def unlike(self) -> list[str]:
        """What the runs were not all made with alike: ``code``, names of the environment."""
        return list(unlike([_made_with(run) for run in self.runs]))

    @property
    def machine(self) -> tuple[object, ...] | None:
        """Where the runs were made; None where that is not the same for all of them."""
        if set(MACHINE) & set(self.unlike):
            return None
        return tuple(self.summary.get("environment", {}).get(name) for name in MACHINE)

    @property
    def warnings(self) -> list[str]:
        """Why figures of some of the runs are doubtful, in words."""
        found = [warning for run in self.runs for warning in run.warnings]
        return list(dict.fromkeys(found))

    @property
    def marks(self) -> list[str]:
        """What sets the row apart from a sound one, in a word or two each."""
        marks = {
            "unfinished": not self.finished,
            "collapsed": self._any("collapsed_at_batch"),
            "not finite": self._any("nonfinite_at_batch"),
            "doubtful": bool(self.warnings),
        }
        return [mark for mark, applies in marks.items() if applies]

    def _any(self, fact: str) -> bool:
        return any(run.summary.get(fact) is not None for run in self.runs)

    @cached_property
    def domain_errors(self) -> pd.DataFrame:
        """Errors, one row per seed and one column per domain."""
        errors = {run.summary["seed"]: run.domain_errors() for run in self.runs}
        return pd.DataFrame(errors).T

    @cached_property
    def samples(self) -> dict[int, Samples]:
        """Correctness of single samples by seed, of the runs that recorded it."""
        found = {run.summary["seed"]: run.samples() for run in self.runs}
        return {seed: samples for seed, samples in found.items() if samples is not None}

    @property
    def task(self) -> Task:
        """What the runs were judged by."""
        return self.runs[0].task

    @cached_property
    def means(self) -> pd.Series:
        """Mean errors, or what other headline figures fall short of 1, by seed."""
        return self._by_seed(self.task.mean_shortfall)

    @cached_property
    def pooled(self) -> pd.Series:
        """Likewise of all samples together."""
        return self._by_seed(self.task.pooled_shortfall)

    def _by_seed(self, figure: Callable[[dict[str, Any]], float]) -> pd.Series:
        found = {run.summary["seed"]: figure(run.summary) for run in self.runs}
        return pd.Series(found, dtype=float)

    @cached_property
    def matrices(self) -> dict[int, Matrices]:
        """Matrices of single images by seed, of the runs that segment and have them."""
        found = {run.summary["seed"]: run.matrices() for run in self.runs}
        return {seed: matrices for seed, matrices in found.items() if matrices is not None}


def _made_with(run: Run) -> dict[str, Any]:
    facts = dict(run.summary.get("environment", {}))
    revision = facts.pop("git_revision", None)
    facts.pop("device_index", None)  # no figure depends on it
    return {"code": run.summary.get("code_digest", revision), **facts}


def rows_of(runs: Sequence[Run]) -> list[Row]:
    """Return the rows of one table, the least mean error first."""
    groups = _groups(runs)
    rows = [Row(_label(group, groups), tuple(group)) for group in groups]
    return sorted(rows, key=lambda row: (not row.finished, row.means.mean()))


def _groups(runs: Sequence[Run]) -> list[list[Run]]:
    groups = defaultdict(list)
    for run in sorted(runs, key=lambda run: run.summary["seed"]):
        groups[as_text(_identity(run))].append(run)
    return [part for group in groups.values() for part in _without_doubles(group)]


def _identity(run: Run) -> dict[str, Any]:
    """Return what runs of one row share, named as labels name it."""
    facts = {name: run.summary.get(name) for name in ("title", "finished", *FACTS)}
    facts["on_nonfinite"] = facts["on_nonfinite"] or "mark"  # all that there was, once
    options = {name: run.config.get(name, LATER.get(name)) for name in OPTIONS}
    digests = {name: (run.summary.get(name) or "none")[:12] for name in DIGESTS}
    named = {name.replace("_", " "): value for name, value in (facts | options | digests).items()}
    files = {name: digest[:12] for name, digest in run.summary.get("params_files", {}).items()}
    return named | {f"{name}=": value for name, value in (run.summary["params"] | files).items()}


def _without_doubles(group: list[Run]) -> list[list[Run]]:
    """Return runs apart where a seed has several, such as those of two versions of the code."""
    seeds = [run.summary["seed"] for run in group]
    return [group] if len(set(seeds)) == len(seeds) else [[run] for run in group]


def _mark(group: list[Run], fact: str, words: str, place: str) -> str:
    """Return what is said of runs of which ``fact`` tells a batch, None for those without."""
    batches = [run.summary.get(fact) for run in group]
    known = [batch for batch in batches if batch is not None]
    if not known:
        return ""
    share = "" if len(known) == len(batches) else f" in {len(known)} of {len(batches)} runs,"
    return f" ({words}{share} {place} batch {', '.join(map(str, sorted(set(known))))})"


def _doubt(group: list[Run]) -> str:
    """Return the mark of runs with warnings, which notes below the tables spell out."""
    count = sum(bool(run.warnings) for run in group)
    share = "" if count == len(group) else f" in {count} of {len(group)} runs"
    return f" (doubtful{share})" if count else ""


def _label(group: list[Run], groups: list[list[Run]]) -> str:
    """Return the method's name, with what tells it from its namesakes."""
    summary, own = group[0].summary, _identity(group[0])
    label = summary["title"] + ("" if summary.get("finished") else " (unfinished)")
    label += _mark(group, "collapsed_at_batch", "collapsed", "at")
    label += _mark(group, "nonfinite_at_batch", "outputs not finite", "from")
    label += _doubt(group)
    others = [
        _identity(other[0])
        for other in groups
        if other is not group
        and (other[0].summary["title"], other[0].summary.get("finished"))
        == (summary["title"], summary.get("finished"))
    ]
    differing = [
        f"{name}{value}" if name.endswith("=") else f"{name} {value}"
        for name, (value, *_) in _unlike_namesakes(own, others).items()
        if name in own
    ]
    if own in others:
        differing += [f"seed {summary['seed']}", f"run {summary['fingerprint'][:12]}"]
    return f"{label} ({', '.join(differing)})" if differing else label


def _unlike_namesakes(own: dict[str, Any], others: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Return facts that differ; of a method inside, from those around the same one alone."""
    same = [other for other in others if other.get("inner=") == own.get("inner=")]
    found = {k: v for k, v in unlike([own, *others]).items() if not k.startswith("inner.")}
    inside = {k: v for k, v in unlike([own, *same]).items() if k.startswith("inner.")}
    return found | inside
