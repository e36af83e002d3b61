"""Choices as tables for people, CSV and JSON; whatever saw all labels says so in each of them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from tta.foundation.terminal import wrapped
from tta.foundation.text import printable_values
from tta.reporting.folding import folded
from tta.reporting.records.stored_tables import to_csv
from tta.reporting.tables import as_metric, markdown, percent
from tta.sweeps.tuning.choice import Choice, choose
from tta.sweeps.tuning.grouping import Group
from tta.sweeps.tuning.rules import Rule

FORMATS = ("markdown", "csv", "json")
NONE = "–"
ORACLE_NOTE = (
    "oracle: chosen with every label of the stream, as nobody can choose; it bounds what rules can "
    "reach, and gaps are measured from it"
)
FACTS = (
    "rule",
    "oracle",
    "chosen",
    "collapsed",
    "accuracy",
    "error",
    "oracle_accuracy",
    "gap",
    "spearman",
)
"""Of a choice, as programs read it; of runs that segment, accuracy is mIoU, error what it lacks."""
COLUMNS_NOTE = (
    "gap: points that the chosen setting's figure lies behind the oracle's; rho: Spearman's "
    "correlation of score and figure over the settings"
)


def render(
    groups: Sequence[Group], rules: Sequence[Rule], form: str, metric: str, width: int | None
) -> str:
    """Return what every rule chooses in every group; in one without a whole setting, nothing.

    Args:
        groups: of the grid.
        rules: in the order in which they are shown.
        form: one of :data:`FORMATS`.
        metric: ``error`` or ``accuracy``, for Markdown.
        width: of the terminal that Markdown is folded for; None folds nothing.
    """
    chosen = [(group, _choices(group, rules, groups)) for group in groups]
    if form == "csv":
        records = [_flat(group, choice) for group, choices in chosen for choice in choices]
        columns = [*groups[0].facts, "seeds", *FACTS]
        return to_csv(pd.DataFrame(records, columns=columns)).rstrip()
    if form == "json":
        return json.dumps({"groups": [_plain(*pair) for pair in chosen]}, indent=2, allow_nan=False)
    parts = [_section(*pair, metric, width) for pair in chosen]
    notes = [COLUMNS_NOTE, *([ORACLE_NOTE] if any(rule.oracle for rule in rules) else [])]
    return "\n\n".join([*parts, *(_fitting(note, width) for note in notes)])


def _choices(group: Group, rules: Sequence[Rule], groups: Sequence[Group]) -> list[Choice]:
    return [choose(group, rule, groups) for rule in rules] if group.settings else []


def _fitting(text: str, width: int | None) -> str:
    return text if width is None else wrapped(text, width)


def _section(group: Group, choices: Sequence[Choice], metric: str, width: int | None) -> str:
    metric = _called(group, metric)
    header = ["rule", "chosen", f"{metric} %", f"oracle {metric} %", "gap", "rho"]
    rows = [_row(group, choice, metric) for choice in choices]
    table = markdown(header, rows) if width is None else folded(header, rows, width)
    notes = [_fitting(note, width) for note in _notes(group, choices)]
    return "\n\n".join(
        [_fitting(_title(group), width), *([table] if group.settings else []), *notes]
    )


def _title(group: Group) -> str:
    method, dataset, scenario, *others = printable_values(group.facts).items()
    also = "".join(f", {name} {value}" for name, value in others)
    seeds = ", ".join(map(str, group.seeds))
    return (
        f"{method[1]} on {dataset[1]}, {scenario[1]}{also}; seed{'s'[: len(group.seeds) > 1]} "
        f"{seeds}; {len(group.settings)} setting{'s'[: len(group.settings) != 1]}"
    )


def _notes(group: Group, choices: Sequence[Choice]) -> Iterator[str]:
    for values in group.left_out:
        yield f"left out, as a run is missing or has no accuracy: {in_words(values)}"
    images = min((_images(group)), default=0)
    for choice in choices:
        if choice.rule.labels is not None and choice.rule.labels >= images > 0:
            yield f"{choice.rule.name} saw all labels: the stream has {images} {_judged(group)}"


def _images(group: Group) -> list[int]:
    return [
        run.summary.get("known_images", run.summary["samples"])
        for setting in group.settings
        for run in setting.runs.values()
    ]


def _judged(group: Group) -> str:
    runs = [run for setting in group.settings for run in setting.runs.values()]
    return "known images" if any("known_images" in run.summary for run in runs) else "images"


def in_words(values: dict[str, Any]) -> str:
    """Return hyper-parameters as they are typed; of one that is not set, that it is not."""
    shown = printable_values(values)
    words = [f"{name}={NONE if value is None else value}" for name, value in shown.items()]
    return " ".join(words) or "the only setting"


def _row(group: Group, choice: Choice, metric: str) -> list[str]:
    name = f"{choice.rule.name} (all labels)" if choice.rule.oracle else choice.rule.name
    if choice.setting is None:
        return [name, "nothing: no score", NONE, _shown(_best(group), metric), NONE, NONE]
    collapsed = " (collapsed)" if choice.setting.collapsed else ""
    return [
        name,
        in_words(choice.setting.values) + collapsed,
        _shown(choice.setting.accuracy, metric),
        _shown(_best(group), metric),
        percent(choice.gap),
        NONE if math.isnan(choice.correlation) else f"{choice.correlation:.2f}",
    ]


def _called(group: Group, metric: str) -> str:
    """Return what the figure of a group is called: of runs that segment it is mIoU."""
    runs = [run for setting in group.settings for run in setting.runs.values()]
    return runs[0].task.called(metric) if runs else metric


def _best(group: Group) -> float:
    return max(setting.accuracy for setting in group.settings)


def _shown(accuracy: float, metric: str) -> str:
    return percent(as_metric(1 - accuracy, metric))


def _plain(group: Group, choices: Sequence[Choice]) -> dict[str, Any]:
    return {
        **group.facts,
        "seeds": list(group.seeds),
        "settings": [setting.values for setting in group.settings],
        "left_out": list(group.left_out),
        "choices": [_facts(group, choice) for choice in choices],
    }


def _facts(group: Group, choice: Choice) -> dict[str, Any]:
    setting = choice.setting
    accuracy = setting and setting.accuracy
    values = (
        choice.rule.name,
        choice.rule.oracle,
        setting and setting.values,
        setting and setting.collapsed,
        accuracy,
        None if accuracy is None else 1 - accuracy,
        _best(group),
        None if setting is None else choice.gap,
        None if math.isnan(choice.correlation) else choice.correlation,
    )
    return dict(zip(FACTS, values, strict=True))


def _flat(group: Group, choice: Choice) -> dict[str, Any]:
    facts = _facts(group, choice)
    chosen = "" if choice.setting is None else in_words(choice.setting.values)
    plain = {name: str(value) for name, value in group.facts.items()}
    return plain | {"seeds": " ".join(map(str, group.seeds))} | facts | {"chosen": chosen}
