"""Paired tests of methods that segment: the images are drawn again, in NumPy alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tta.reporting.comparing.statistics import Bootstrap
from tta.reporting.records.runs import Matrices
from tta.tasks.confusion import right

RESAMPLES = 2000


@dataclass(frozen=True)
class Counts:
    """What the IoU of classes follows from: of each image, and it adds up.

    Attributes:
        right: pixels of each class that are right ``[N, C]``.
        union: pixels of each class in label or prediction ``[N, C]``.
    """

    right: np.ndarray
    union: np.ndarray

    @classmethod
    def of(cls, matrices: np.ndarray) -> Counts:
        """Return those of matrices ``[N, C, C + 1]``."""
        both = right(matrices).astype(np.float64)
        return cls(both, matrices.sum(2) + matrices[:, :, :-1].sum(1) - both)

    def drawn(self, times: np.ndarray) -> np.ndarray:
        """Return the mIoU ``[R]`` of the images, each as often as ``times`` ``[R, N]`` says."""
        both, union = times @ self.right, times @ self.union
        known = union > 0
        iou = np.divide(both, union, out=np.zeros_like(both), where=known)
        return iou.sum(1) / np.maximum(known.sum(1), 1)


def image_bootstrap(
    first: Matrices, second: Matrices, visits: list[int], resamples: int = RESAMPLES, seed: int = 0
) -> Bootstrap:
    """Draw the images of every visit again, the same of both runs, and compare their mean mIoU.

    Args:
        first: a method's.
        second: the other's, on the same stream.
        visits: numbers of the visits that count.
        resamples: number of draws.
        seed: of a private generator.

    Returns:
        The 95 % percentile interval of the first's mean shortfall less the second's, and the
        two-sided p-value, as :func:`tta.reporting.comparing.statistics.paired_bootstrap` has them.
    """
    generator = np.random.default_rng(seed)
    total = np.zeros(resamples)
    for visit in visits:
        rows = np.flatnonzero(first.visit == visit)
        times = generator.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), resamples)
        one, other = (Counts.of(run.matrix[rows]).drawn(times) for run in (first, second))
        total += other - one
    means = total / max(1, len(visits))
    low, high = np.quantile(means, [0.025, 0.975])
    extreme = min((means <= 0).sum(), (means >= 0).sum())
    return Bootstrap(float(low), float(high), float(min(1.0, 2 * (extreme + 1) / (resamples + 1))))
