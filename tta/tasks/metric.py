"""The metrics of classification, each declared once; records, tables and pictures iterate.

What single samples give (:data:`SAMPLE_COLUMNS`) adds up to one figure per visit to a domain, and
these to figures of a run. Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from tta.tasks.calibration import ECE_BINS, expected_calibration_error

SAMPLE_COLUMNS = ("correct", "confidence", "nll", "brier")
"""Of every sample: right or not, top-1 confidence, NLL in nats, Brier score."""

Samples = Mapping[str, np.ndarray]
"""Columns by name, each ``[N]`` in float64."""


@dataclass(frozen=True)
class Metric:
    """A figure of the samples of a visit to a domain.

    Attributes:
        name: of the column in records.
        header: of the column in tables.
        meaning: in a few words, with its range and unit.
        aggregate: gives the figure of some samples.
        percent: whether tables show it as percent; it is a fraction from 0 to 1 then.
        digits: that tables show.
        better: ``lower`` or ``higher``.
        pools: whether the figure of all samples together is another than the mean over domains,
            and is told too.
        shown: whether the page shows it before it is asked for.
        of_unknown: whether images of none of the classes count too.
    """

    name: str
    header: str
    meaning: str
    aggregate: Callable[[Samples], float]
    percent: bool = False
    digits: int = 2
    better: str = "lower"
    pools: bool = False
    shown: bool = False
    of_unknown: bool = False

    @property
    def in_words(self) -> str:
        """What it is, in one line."""
        unit = ", in percent" if self.percent else ""
        return f"{self.meaning}{unit}; {self.better} is better"


ACCURACY = Metric(
    "accuracy",
    "accuracy %",
    "share of images classified rightly",
    lambda samples: samples["correct"].mean(),
    percent=True,
    better="higher",
)
ERROR = Metric(
    "error",
    "error %",
    "share of images classified wrongly",
    lambda samples: 1.0 - samples["correct"].mean(),
    percent=True,
)
ECE = Metric(
    "ece",
    "ECE %",
    f"expected calibration error over {ECE_BINS} bins of the top-1 confidence",
    lambda samples: expected_calibration_error(samples["confidence"], samples["correct"]),
    percent=True,
    pools=True,
    shown=True,
)
NLL = Metric(
    "nll",
    "NLL",
    "negative log-likelihood of the label, nats",
    lambda samples: samples["nll"].mean(),
    digits=3,
)
BRIER = Metric(
    "brier",
    "Brier",
    "Brier score, 0 to 2",
    lambda samples: samples["brier"].mean(),
    digits=3,
)

RATES = (ACCURACY, ERROR)
"""What the task is judged by."""
CALIBRATION = (ECE, NLL, BRIER)
"""How well a method knows itself; not a number where outputs are none."""
METRICS = (*RATES, *CALIBRATION)


@dataclass(frozen=True)
class RunFigure:
    """A figure of a whole run.

    Attributes:
        name: in summaries.
        header: of the column in tables.
        metric: that it is of.
        pooled: whether it is that of all samples together, not the mean over visits to domains.
    """

    name: str
    header: str
    metric: Metric
    pooled: bool = False


def run_figures(metrics: Iterable[Metric]) -> Iterator[RunFigure]:
    """Yield the mean of each metric over visits, and its pooled figure where that is another."""
    for metric in metrics:
        mean = f"mean {metric.header}" if metric.pools else metric.header
        yield RunFigure(f"mean_{metric.name}", mean, metric)
        if metric.pools:
            yield RunFigure(f"pooled_{metric.name}", f"pooled {metric.header}", metric, True)


RUN_FIGURES = tuple(run_figures(CALIBRATION))
"""Of calibration; those of :data:`RATES` have columns of their own in every table."""
