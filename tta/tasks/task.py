"""What is kept of every sample and which figures follow: classification, and open sets.

An open-set stream shows images of none of the classes too. Their label is
:data:`~tta.tasks.open_set.UNKNOWN`; figures of classification are of the known images alone.
Nothing here imports torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from tta.foundation.errors import UserError
from tta.tasks.metric import METRICS, RUN_FIGURES, SAMPLE_COLUMNS, Metric, Samples
from tta.tasks.open_set_metrics import OPEN_SET_FIGURES, OPEN_SET_METRICS

ALL_METRICS = (*METRICS, *OPEN_SET_METRICS)
ALL_FIGURES = (*RUN_FIGURES, *OPEN_SET_FIGURES)


@dataclass(frozen=True)
class Task:
    """What a stream is judged by.

    Attributes:
        name: as records have it.
        columns: what is kept of every sample.
        metrics: of every visit to a domain.
    """

    name: str
    columns: tuple[str, ...]
    metrics: tuple[Metric, ...]

    def measure(self, samples: Samples) -> dict[str, float]:
        """Return the metrics of some samples by name; NaN where no image counts."""
        return measured(self.metrics, samples)


CLASSIFICATION = Task("classification", SAMPLE_COLUMNS, METRICS)
OPEN_SET = Task("open_set", (*SAMPLE_COLUMNS, "known", "score"), ALL_METRICS)


def measured(metrics: Iterable[Metric], samples: Samples) -> dict[str, float]:
    """Return metrics of some samples by name; NaN where no image counts."""
    judged = samples
    if "known" in samples:
        known = samples["known"] > 0
        judged = {name: column[known] for name, column in samples.items()}
    chosen = {metric: samples if metric.of_unknown else judged for metric in metrics}
    return {
        metric.name: metric.aggregate(rows) if len(rows["correct"]) else math.nan
        for metric, rows in chosen.items()
    }


def task_of(labels: np.ndarray) -> Task:
    """Return the task that the labels ``[N]`` of a stream make.

    Raises:
        UserError: no image of the stream is of a known class.
    """
    if len(labels) and labels.max() < 0:
        raise UserError(
            "no image of the stream is of a known class: all labels are -1, which is for unknown "
            "ones; choose domains that show known images"
        )
    return OPEN_SET if (labels < 0).any() else CLASSIFICATION
