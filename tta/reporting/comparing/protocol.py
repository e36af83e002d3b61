"""What runs must share to stand in one table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from tta.config import RunConfig
from tta.foundation.errors import UserError
from tta.foundation.pacing import PACING
from tta.foundation.templates import templates_in_words
from tta.foundation.unlike import as_text, distinct, unlike
from tta.reporting.records.runs import Run
from tta.streams import SCENARIO_OPTIONS

SUMMARY_FACTS = (
    "dataset",
    "data_digest",
    "scenario",
    "backbone",
    "weights_sha256",
    "batch_size",
)
CLASSES = "classes_digest"
"""Which outputs of the model labels count; records that have none were made with all of them."""
PROMPTS = "prompts_digest"
"""Names of classes and templates that a model was given as text; None for all others."""
STREAM_OPTIONS = (
    "severity",
    "domains",
    "num_samples",
    "dirichlet",
    "zipf",
    "contiguous_batches",
    "input_size",
    "resize",
    "crop",
    "mean",
    "std",
    "unknown_ratio",
    "unknown_mix",
)
"""Options that decide the stream, beside the seed, and how images are shown; ``config.yaml`` has
them resolved."""
LATER_OPTIONS = (
    "order",
    *(name for name in SCENARIO_OPTIONS if name not in STREAM_OPTIONS),
    *PACING,
)
"""Options of the stream that earlier records have not, which are made with their defaults."""
_DESCRIBED = frozenset(SUMMARY_FACTS) - {"data_digest"} | {"severity", "num_samples"}
_LONGEST = 60


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


def _facts(run: Run) -> dict[str, Any]:
    facts = {name: run.summary[name] for name in SUMMARY_FACTS}
    facts[CLASSES] = run.summary.get(CLASSES)
    facts[PROMPTS] = (run.summary.get("prompts") or {}).get("digest")
    facts |= {name: run.config.get(name) for name in STREAM_OPTIONS}
    default = RunConfig().to_mapping()
    return facts | {name: run.config.get(name, default[name]) for name in LATER_OPTIONS}


def _key(run: Run) -> str:
    return as_text(_facts(run))


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
    """Return the facts in which protocols differ, each with its values."""
    firsts = [runs[0] for runs in protocols]
    streams = [{"stream_digest": run.summary["stream_digest"]} for run in firsts]
    found = unlike([_facts(run) for run in firsts]) or unlike(streams)
    return ", ".join(_difference(name, values) for name, values in found.items())


def _difference(name: str, values: Sequence[Any]) -> str:
    words = "images, labels or classes" if name == "data_digest" else name.replace("_", " ")
    return f"{words} ({' or '.join(_shown(name, value) for value in distinct(values))})"


def _shown(name: str, value: Any) -> str:
    if value is None:
        return "none"
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    text = f"{len(value)}: {text}" if name == "domains" else text
    if name.endswith(("digest", "sha256")):
        return text[:12]
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def told_apart(protocols: Sequence[Sequence[Run]]) -> list[dict[str, str]]:
    """Return, for each protocol, what others have otherwise and :func:`describe` leaves out."""
    facts = [_facts(runs[0]) for runs in protocols]
    names = [name for name in unlike(facts) if name not in _DESCRIBED]
    return [{name.replace("_", " "): _shown(name, fact[name]) for name in names} for fact in facts]


def describe(runs: Sequence[Run]) -> dict[str, str]:
    """Return the protocol that runs share, in words."""
    summary = runs[0].summary
    seeds = sorted({run.summary["seed"] for run in runs})
    digests = {run.summary["seed"]: run.summary["stream_digest"][:12] for run in runs}
    return {
        "dataset": summary["dataset"],
        "scenario": summary["scenario"],
        "images per domain": _images(summary),
        **_unknown(summary),
        "severity": ", ".join(sorted({str(row.get("severity")) for row in summary["domains"]})),
        "batch size": str(summary["batch_size"]),
        "reset": _reset_policy(summary),
        "backbone": summary["backbone"],
        "weights": summary["weights_sha256"][:12],
        **_prompts(summary),
        "seeds": ", ".join(map(str, seeds)),
        "stream": ", ".join(dict.fromkeys(digests[seed] for seed in seeds)),
    }


def _images(summary: dict[str, Any]) -> str:
    visits = [row["samples"] for row in summary["domains"]]
    fewest, most = min(visits), max(visits)
    size = str(fewest) if fewest == most else f"{fewest} to {most}"
    visited = len(visits) / len({row["domain"] for row in summary["domains"]})
    return size if visited == 1 else f"{size} at each of {visited:.3g} visits"


def _unknown(summary: dict[str, Any]) -> dict[str, str]:
    if "unknown_images" not in summary:
        return {}
    return {"unknown images": f"{summary['unknown_images']} of {summary['samples']}"}


def _prompts(summary: dict[str, Any]) -> dict[str, str]:
    prompts = summary.get("prompts")
    if prompts is None:
        return {}
    return {"templates": f"{templates_in_words(prompts['templates'])} ({prompts['digest'][:12]})"}


def _reset_policy(summary: dict[str, Any]) -> str:
    resets = summary.get("resets")
    if resets is None:
        return "as the scenario says"
    if resets > len(summary["domains"]):
        return f"{resets} times"
    return f"{resets} times, before domains" if resets else "never"
