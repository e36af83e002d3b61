"""What is kept of every sample and which figures follow: classification, open sets, segmentation.

An open-set stream shows images of none of the classes too. Their label is
:data:`~tta.tasks.open_set.UNKNOWN`; figures of classification are of the known images alone.
Nothing here imports torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tta.foundation.errors import UserError
from tta.tasks.metric import ERROR, METRICS, RUN_FIGURES, SAMPLE_COLUMNS, Metric, RunFigure, Samples
from tta.tasks.open_set_metrics import OPEN_SET_FIGURES, OPEN_SET_METRICS
from tta.tasks.segmentation import MIOU, PIXEL_COLUMNS, SEGMENTATION_FIGURES, SEGMENTATION_METRICS

PREDICTION = "prediction"
"""A further column, of streams by which predictions of several samples are compared: the class."""
ALL_METRICS = (*METRICS, *OPEN_SET_METRICS)
ALL_FIGURES = (*RUN_FIGURES, *OPEN_SET_FIGURES)


@dataclass(frozen=True)
class Task:
    """What a stream is judged by.

    Attributes:
        name: as records have it.
        columns: what is kept of every sample.
        metrics: of every visit to a domain.
        figures: of a run, beside its headline.
        headline: the metric that methods are ranked by. Records have it of every visit, its mean
            over them (``mean_...``) and that of all samples together (``pooled_...``).
    """

    name: str
    columns: tuple[str, ...]
    metrics: tuple[Metric, ...]
    figures: tuple[RunFigure, ...] = RUN_FIGURES
    headline: Metric = ERROR

    def shortfall(self, headline: Any) -> Any:
        """Return how far headline figures, fractions, fall short of perfect: less is better.

        Of an error that is the error itself. A second call takes it back.
        """
        return headline if self.headline.better == "lower" else 1 - headline

    def change(self, difference: Any) -> Any:
        """Return a difference of shortfalls as one of the headline; a second call takes it back."""
        return difference if self.headline.better == "lower" else -difference

    def called(self, metric: str) -> str:
        """Return what tables call the headline, where the user asked for ``error`` or another."""
        return metric if self.headline is ERROR else self.headline.header.removesuffix(" %")

    def mean_shortfall(self, summary: Mapping[str, Any]) -> float:
        """Return the shortfall of a run, the mean over its visits; NaN where there is none."""
        return self._shortfall_of(summary, "mean")

    def pooled_shortfall(self, summary: Mapping[str, Any]) -> float:
        """Return the shortfall of all samples of a run together; NaN where there is none."""
        return self._shortfall_of(summary, "pooled")

    def _shortfall_of(self, summary: Mapping[str, Any], kind: str) -> float:
        value = summary[f"{kind}_{self.headline.name}"]
        return math.nan if value is None else self.shortfall(value)

    def measure(self, samples: Samples) -> dict[str, float]:
        """Return the metrics of some samples by name; NaN where no image counts."""
        return measured(self.metrics, samples)


CLASSIFICATION = Task("classification", SAMPLE_COLUMNS, METRICS)
OPEN_SET = Task("open_set", (*SAMPLE_COLUMNS, "known", "score"), ALL_METRICS, ALL_FIGURES)
SEGMENTATION = Task("segmentation", PIXEL_COLUMNS, SEGMENTATION_METRICS, SEGMENTATION_FIGURES, MIOU)
TASKS = {task.name: task for task in (CLASSIFICATION, OPEN_SET, SEGMENTATION)}


def recorded_task(summary: Mapping[str, Any]) -> Task:
    """Return the task of a record; without a word of it, it is classification."""
    return TASKS[summary.get("task") or CLASSIFICATION.name]


def measured(metrics: Iterable[Metric], samples: Samples) -> dict[str, float]:
    """Return metrics of some samples by name; NaN where no image counts."""
    judged = samples
    if "known" in samples:
        known = samples["known"] > 0
        judged = {name: column[known] for name, column in samples.items()}
    chosen = {metric: samples if metric.of_unknown else judged for metric in metrics}
    return {
        metric.name: metric.aggregate(rows) if len(next(iter(rows.values()))) else math.nan
        for metric, rows in chosen.items()
    }


def task_of(labels: np.ndarray, kind: str = CLASSIFICATION.name) -> Task:
    """Return the task that a stream makes.

    Args:
        labels: of its images ``[N]``; label maps are not among them.
        kind: what the data set says.

    Raises:
        UserError: no image of the stream is of a known class.
    """
    if kind == SEGMENTATION.name:
        return SEGMENTATION
    if len(labels) and labels.max() < 0:
        raise UserError(
            "no image of the stream is of a known class: all labels are -1, which is for unknown "
            "ones; choose domains that show known images"
        )
    return OPEN_SET if (labels < 0).any() else CLASSIFICATION


def headline_in_words(summary: Mapping[str, Any]) -> str:
    """Return the figure that a run is judged by, the mean over its visits, in percent."""
    task = recorded_task(summary)
    value = task.shortfall(task.mean_shortfall(summary))
    return f"mean {task.called('error')} {100 * value:.2f} %"
