"""The metrics of open-set recognition, each declared once, beside those of classification.

Nothing here imports torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tta.tasks.metric import Metric, RunFigure, Samples
from tta.tasks.open_set import (
    auroc,
    average_precision,
    fpr_interpolated,
    fpr_nearest,
    fpr_stepped,
    harmonic_mean,
    oscr,
)


@dataclass(frozen=True)
class Scored:
    """The samples of a visit that shows known and unknown images.

    Attributes:
        known: scores of the known images ``[I]``, higher for what looks known.
        right: which of them are classified rightly, bool ``[I]``.
        unknown: scores of the unknown images ``[O]``.
    """

    known: np.ndarray
    right: np.ndarray
    unknown: np.ndarray

    @property
    def confirmed(self) -> np.ndarray:
        """Scores of the known images that are classified rightly."""
        return self.known[self.right]

    @property
    def doubtful(self) -> np.ndarray:
        """Scores of all others."""
        return np.concatenate([self.unknown, self.known[~self.right]])


def _of_scores(figure: Callable[[Scored], float]) -> Callable[[Samples], float]:
    """Return what is NaN where images of one kind are missing, or a score is not a number."""

    def aggregate(samples: Samples) -> float:
        known, score = samples["known"] > 0, samples["score"]
        if known.all() or not known.any() or np.isnan(score).any():
            return math.nan
        right = samples["correct"][known] > 0
        return figure(Scored(score[known], right, score[~known]))

    return aggregate


def _open(
    name: str,
    header: str,
    meaning: str,
    figure: Callable[[Scored], float],
    better: str = "higher",
    shown: bool = False,
) -> Metric:
    aggregate = _of_scores(figure)
    return Metric(
        name, header, meaning, aggregate, percent=True, better=better, shown=shown, of_unknown=True
    )


def _come_auroc(scored: Scored) -> float:
    return auroc(scored.confirmed, scored.doubtful) if len(scored.confirmed) else math.nan


def _come_fpr(scored: Scored) -> float:
    return fpr_nearest(scored.confirmed, scored.doubtful) if len(scored.confirmed) else math.nan


OPEN_SET_METRICS = (
    Metric(
        "known_accuracy",
        "known acc %",
        "share of known images classified rightly, none rejected",
        lambda samples: samples["correct"].mean(),
        percent=True,
        better="higher",
    ),
    _open(
        "auroc",
        "AUROC %",
        "probability that a known image scores higher than an unknown one",
        lambda scored: auroc(scored.known, scored.unknown),
        shown=True,
    ),
    _open(
        "fpr95",
        "FPR95 %",
        "share of unknown images accepted where 95 % of known ones are, interpolated",
        lambda scored: fpr_interpolated(scored.known, scored.unknown),
        better="lower",
        shown=True,
    ),
    _open(
        "fpr95_step",
        "FPR95 step %",
        "share of unknown images scoring as high as the lowest of 95 % of known ones",
        lambda scored: fpr_stepped(scored.known, scored.unknown),
        better="lower",
    ),
    _open(
        "aupr",
        "AUPR-in %",
        "average precision in finding the known images",
        lambda scored: average_precision(scored.known, scored.unknown),
    ),
    _open(
        "aupr_out",
        "AUPR-out %",
        "average precision in finding the unknown images",
        lambda scored: average_precision(-scored.unknown, -scored.known),
    ),
    _open(
        "oscr",
        "OSCR %",
        "area below the rate of right and accepted known images over that of accepted unknown",
        lambda scored: oscr(scored.known, scored.right, scored.unknown),
    ),
    _open(
        "h_score",
        "H %",
        "harmonic mean of accuracy on known images and AUROC, by domain",
        lambda scored: harmonic_mean(
            float(scored.right.mean()), auroc(scored.known, scored.unknown)
        ),
        shown=True,
    ),
    _open(
        "come_fpr",
        "COME FPR %",
        "share of unknown or wrong images missed where 5 % of the right ones are rejected",
        _come_fpr,
        better="lower",
    ),
    _open(
        "come_auroc",
        "COME AUROC %",
        "probability that a right image scores higher than an unknown or wrong one",
        _come_auroc,
    ),
)
"""Of streams with unknown images, beside those of classification."""
OPEN_SET_FIGURES = tuple(
    RunFigure(metric.name, metric.header, metric) for metric in OPEN_SET_METRICS
)
"""Their means over the domains that show known and unknown images."""
