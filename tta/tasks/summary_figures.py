"""Figures that protocols add to a run's summary, each declared once; tables and page iterate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class SummaryFigure:
    """A figure that runs under some protocol have.

    Attributes:
        name: in machine-readable tables and the page's address.
        header: of the column in tables.
        meaning: in a few words.
        get: takes it from a summary; None where it is not known.
        percent: whether it is a fraction that tables show in percent.
        digits: that tables show.
    """

    name: str
    header: str
    meaning: str
    get: Callable[[Mapping[str, Any]], float | None]
    percent: bool = False
    digits: int = 2


def _part(part: str, key: str) -> Callable[[Mapping[str, Any]], float | None]:
    return lambda summary: (summary.get(part) or {}).get(key)


def _adapted(summary: Mapping[str, Any]) -> float | None:
    pace = summary.get("pace")
    return pace["adapted_batches"] / pace["batches"] if pace else None


def _energy(summary: Mapping[str, Any]) -> float | None:
    joules = summary["cost"].get("energy_joules")
    adapted = (summary.get("held_out") or {}).get("adapted_images", 0)
    return None if joules is None else joules / (summary["samples"] + adapted)


def _gap(name: str) -> Callable[[Mapping[str, Any]], float | None]:
    return lambda summary: summary.get("estimates", {}).get(name, {}).get("mean_absolute_error")


PROTOCOL_FIGURES = (
    SummaryFigure(
        "task_accuracy",
        "task acc. %",
        "mean over tasks of their accuracies",
        _part("tasks", "mean_accuracy"),
        True,
    ),
    SummaryFigure(
        "translation_consistency",
        "consistency %",
        "copies moved by whole pixels with the class of the same image unmoved",
        _part("translations", "consistency"),
        True,
    ),
    SummaryFigure("adapted", "adapted %", "batches that were adapted to", _adapted, True),
    SummaryFigure("step_cost", "step cost", "of a step, in forward passes", _part("pace", "cost")),
    SummaryFigure(
        "seen_accuracy",
        "seen acc. %",
        "accuracy on held-out images of classes that were adapted to",
        _part("held_out", "seen_accuracy"),
        True,
    ),
    SummaryFigure(
        "unseen_accuracy",
        "unseen acc. %",
        "likewise, of the other classes",
        _part("held_out", "unseen_accuracy"),
        True,
    ),
    SummaryFigure(
        "clean_start",
        "clean before %",
        "accuracy on clean images before the stream",
        _part("probe", "start"),
        True,
    ),
    SummaryFigure(
        "clean_drop",
        "forgotten",
        "points of it lost after the stream",
        _part("probe", "drop"),
        True,
    ),
    SummaryFigure(
        "clean_worst_drop",
        "forgotten at worst",
        "points lost after the domain where most was",
        _part("probe", "worst_drop"),
        True,
    ),
    SummaryFigure(
        "recovery_images",
        "recovery",
        "images after a change of domain until the error is within a tenth of the settled one",
        _part("recovery", "recovery_images"),
        digits=0,
    ),
    SummaryFigure(
        "recovery_excess",
        "excess",
        "images wrong beyond the settled error, per change of domain",
        _part("recovery", "recovery_excess"),
        digits=1,
    ),
    SummaryFigure(
        "aetta_gap",
        "AETTA off by",
        "mean distance, in points, of the accuracy estimated without labels from that of a batch",
        _gap("aetta"),
        True,
    ),
    SummaryFigure(
        "softmax_gap", "softmax off by", "likewise, of the mean confidence", _gap("softmax"), True
    ),
    SummaryFigure("energy", "J / image", "energy of the machine per image", _energy, digits=3),
)
