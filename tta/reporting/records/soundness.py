"""What keeps a record from being shown: every value is checked before anything reads it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from tta.tasks.metric import RUN_FIGURES, RunFigure
from tta.tasks.open_set_metrics import OPEN_SET_FIGURES
from tta.tasks.segmentation import MIOU, SEGMENTATION_FIGURES, SEGMENTATION_METRICS
from tta.tasks.task import SEGMENTATION, TASKS
from tta.tasks.visits import judged_images

Check = Callable[[Any], bool]

LARGEST = 2**64
"""Numbers from here on are no figure of ours, and no array holds such integers."""
DEEPEST = 20
"""Levels of nesting; what we write has five at most."""


def is_text(value: Any) -> bool:
    """Return whether a value is text."""
    return isinstance(value, str)


def is_number(value: Any) -> bool:
    """Return whether a value is a finite number that an array can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < LARGEST  # False for NaN


def is_fraction(value: Any) -> bool:
    """Return whether a value is a number from 0 to 1."""
    return is_number(value) and 0 <= value <= 1


def is_positive(value: Any) -> bool:
    """Return whether a value is a number from 0 on."""
    return is_number(value) and value >= 0


def is_count(value: Any) -> bool:
    """Return whether a value is an integer from 0 on."""
    return isinstance(value, int) and is_positive(value)


def is_flag(value: Any) -> bool:
    """Return whether a value is true or false."""
    return isinstance(value, bool)


def _or_none(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _all_values(check: Check) -> Check:
    return lambda value: isinstance(value, dict) and all(map(check, value.values()))


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float)


def _is_evidence(value: Any) -> bool:
    figures = {k: v for k, v in value.items() if k != "by_visit"} if isinstance(value, dict) else 0
    return _all_values(_or_none(is_number))(figures)


def _is_pace(value: Any) -> bool:
    numbers = {"batches": is_count, "adapted_batches": is_count, "cost": _or_none(is_positive)}
    whole = isinstance(value, dict) and value.keys() >= {"rule", *numbers} and value["batches"]
    checks = {"rule": is_text, **numbers}
    return bool(whole) and all(check(value[name]) for name, check in checks.items())


def _are_prompts(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and is_text(value.get("digest"))
        and _are_texts(value.get("names"))
        and _are_texts(value.get("templates"))
    )


def _is_probe(value: Any) -> bool:
    if not isinstance(value, dict) or not {"start", "after", "positions"} <= value.keys():
        return False
    drops = (value.get(name) for name in ("mean", "drop", "worst_drop"))
    after, positions = value["after"], value["positions"]
    lists = all(isinstance(part, list) for part in (after, positions))
    return (
        lists
        and len(after) == len(positions)
        and all(map(is_count, [*positions, value.get("samples")]))
        and all(map(is_fraction, [value["start"], *after]))
        and all(map(_or_none(is_number), drops))
        and is_text(value.get("dataset"))
    )


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(is_text, value))


def _figure(figure: RunFigure) -> Check:
    return _or_none(is_fraction if figure.metric.percent else is_positive)


def _are_class_figures(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and bool(value)
        and all(
            isinstance(row, list) and row and all(map(_or_none(is_fraction), row))
            for row in value.values()
        )
    )


NEEDED: dict[str, Check] = {
    **dict.fromkeys(
        ("method", "title", "dataset", "scenario", "backbone", "predicts", "fingerprint"), is_text
    ),
    **dict.fromkeys(("stream_digest", "data_digest", "weights_sha256"), is_text),
    **dict.fromkeys(("samples", "batch_size", "seed"), is_count),
    "params": lambda value: isinstance(value, dict),
    "counters": _all_values(is_number),
    "cost": _all_values(is_number),
}
OF_CLASSIFICATION: dict[str, Check] = {
    **dict.fromkeys(("mean_error", "mean_accuracy", "pooled_error"), is_fraction),
    # None where outputs were not all numbers:
    **{figure.name: _figure(figure) for figure in RUN_FIGURES if not figure.pooled},
}
OF_SEGMENTATION: dict[str, Check] = {
    **{figure.name: _figure(figure) for figure in SEGMENTATION_FIGURES},
    **dict.fromkeys((f"mean_{MIOU.name}", f"pooled_{MIOU.name}"), is_fraction),
    "class_iou": _are_class_figures,
}
OPTIONAL: dict[str, Check] = {
    "finished": is_flag,
    "task": lambda value: value is None or is_text(value) and value in TASKS,
    **{figure.name: _figure(figure) for figure in RUN_FIGURES if figure.pooled},
    **{figure.name: _figure(figure) for figure in OPEN_SET_FIGURES},
    **dict.fromkeys(("known_images", "unknown_images", "visits_left_out"), is_count),
    **dict.fromkeys(("acc_s", "acc_n", "acc_h"), _or_none(is_fraction)),
    "upload_fraction": is_positive,
    **dict.fromkeys(("needs", "warnings"), _are_texts),
    "visits": lambda value: isinstance(value, list) and all(map(_or_none(is_fraction), value)),
    "passes": _all_values(is_number),
    "environment": _all_values(_is_plain),
    "evidence": _is_evidence,
    "pace": _is_pace,
    "tasks": _all_values(_or_none(is_positive)),
    "held_out": _all_values(_or_none(is_positive)),
    "translations": _all_values(_or_none(is_positive)),
    "recovery": _or_none(_all_values(is_positive)),
    "params_files": _all_values(is_text),
    "prompts": _or_none(_are_prompts),
    "probe": _is_probe,
    "estimates": _all_values(_all_values(_or_none(is_number))),
    **dict.fromkeys(("resets", "window"), _or_none(is_count)),
    **dict.fromkeys(
        (
            "collapsed_at_batch",
            "collapsed_at_image",
            "nonfinite_at_batch",
            "nonfinite_at_image",
            "nonfinite_batches",
            "nonfinite_images",
        ),
        _or_none(is_count),
    ),
    **dict.fromkeys(("classes_digest", "source_digest", "cloud_weights_sha256"), _or_none(is_text)),
    **dict.fromkeys(
        (
            "paper",
            "preset",
            "precision",
            "compile",
            "cloud_backbone",
            "code_digest",
            "on_nonfinite",
            "nonfinite_weights_after",
            "score",
        ),
        _or_none(is_text),
    ),
}
DOMAIN: dict[str, Check] = {
    "domain": is_text,
    "samples": lambda value: is_count(value) and value > 0,
}
RATES: dict[str, Check] = dict.fromkeys(("error", "accuracy"), _or_none(is_fraction))
PIXELS: dict[str, Check] = {
    **{metric.name: _or_none(is_positive) for metric in SEGMENTATION_METRICS},
    MIOU.name: _or_none(is_fraction),
    **dict.fromkeys(("pixels", "correct"), is_count),
}
DOMAIN_OPTIONAL: dict[str, Check] = {
    "severity": _is_plain,
    "consistency": _or_none(is_fraction),
    **dict.fromkeys(("correct", "known", "unknown"), is_count),
    **{figure.name: _figure(figure) for figure in OPEN_SET_FIGURES},
}


def damage(summary: Mapping[str, Any]) -> str:
    """Return what keeps a summary from being shown; empty where nothing does."""
    fault = wildness(summary)
    if fault:
        return fault
    segments = summary.get("task") == SEGMENTATION.name
    needed = NEEDED | (OF_SEGMENTATION if segments else OF_CLASSIFICATION)
    wrong = [*_wrong(summary, needed, OPTIONAL)]
    if not _are_domains(summary.get("domains"), DOMAIN | (PIXELS if segments else RATES)):
        wrong.append("domains")
    if wrong:
        return ", ".join(f"{name!r} is missing or wrong" for name in wrong)
    return _contradiction(summary, segments)


def _wrong(
    values: Mapping[str, Any], needed: Mapping[str, Check], optional: Mapping[str, Check]
) -> list[str]:
    wrong = [
        name for name, check in needed.items() if name not in values or not check(values[name])
    ]
    doubtful = {name: check for name, check in optional.items() if name in values}
    return wrong + [name for name, check in doubtful.items() if not check(values[name])]


def _are_domains(value: Any, needed: Mapping[str, Check]) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(row, dict) for row in value)
        and not any(_wrong(row, needed, DOMAIN_OPTIONAL) for row in value)
        and all(
            _is_judged(row) == (row[name] is not None)
            for row in value
            for name in ("error", "accuracy", MIOU.name)
            if name in needed
        )
        and any(map(_is_judged, value))
    )


def _is_judged(row: Mapping[str, Any]) -> bool:
    return row.get("pixels", judged_images(row)) > 0


def _contradiction(summary: Mapping[str, Any], segments: bool) -> str:
    """Return which figure does not follow from those of the domains."""
    rows = [row for row in summary["domains"] if _is_judged(row)]
    if segments:
        name = f"mean_{MIOU.name}"
        follows = _close(summary[name], sum(row[MIOU.name] for row in rows) / len(rows))
        return "" if follows else f"{name!r} does not follow from 'domains'"
    wrong_images = sum(row["error"] * judged_images(row) for row in rows)
    expected = {
        "samples": sum(row["samples"] for row in summary["domains"]),
        "mean_error": sum(row["error"] for row in rows) / len(rows),
        "mean_accuracy": sum(row["accuracy"] for row in rows) / len(rows),
        "pooled_error": wrong_images / sum(map(judged_images, rows)),
    }
    wrong = [name for name, value in expected.items() if not _close(summary[name], value)]
    return ", ".join(f"{name!r} does not follow from 'domains'" for name in wrong)


def _close(first: float, second: float) -> bool:
    return math.isclose(first, second, rel_tol=1e-6, abs_tol=1e-9)


def wildness(value: Any, most: int = 10_000_000, finite: bool = True) -> str:
    """Return what of a value that JSON or YAML held we have never written.

    Args:
        value: of any nesting; what YAML repeats by reference counts each time.
        most: values at all.
        finite: whether every number must be finite.
    """
    level, seen = [value], 0
    for _ in range(DEEPEST):
        inner: list[Any] = []
        for item in level:
            children = _children(item)
            if children is None:
                return f"it holds a value of type {type(item).__name__}"
            if finite and isinstance(item, int | float) and not math.isfinite(_as_float(item)):
                return f"it holds the number {item!s:.20}"
            seen += len(children) + 1
            if seen > most:
                return f"it holds more than {most} values"
            inner += children
        if not inner:
            return ""
        level = inner
    return f"it is nested more than {DEEPEST} levels deep"


def _as_float(number: float) -> float:
    return number if isinstance(number, float) or abs(number) < LARGEST else math.inf


def _children(item: Any) -> list[Any] | None:
    """Return what a plain value holds; None for one that is not plain."""
    if isinstance(item, dict):
        names = all(isinstance(name, str) for name in item)
        return list(item.values()) if names else None
    if isinstance(item, list):
        return item
    return [] if _is_plain(item) else None
