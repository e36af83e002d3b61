"""OWTTT's rule of rejection, and its figures. Li et al., ICCV 2023; in NumPy alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from tta.ops.two_groups import two_group_threshold
from tta.tasks.open_set import harmonic_mean

QUEUE = 512
"""Latest images whose novelties decide the threshold."""


def rejected_in_queue(
    novelty: np.ndarray, starts: np.ndarray, reset_before: np.ndarray
) -> np.ndarray:
    """Return which images are rejected, bool ``[N]``: those above their batch's threshold.

    Args:
        novelty: of the images ``[N]`` in stream order, 1 minus the largest cosine.
        starts: positions of the batches' first images; a batch's own novelties are in the queue.
        reset_before: whether the method is reset before each image, bool ``[N]``; it begins a
            batch, and the queue is empty again.
    """
    rejected, first = np.zeros(len(novelty), bool), 0
    for start, stop in zip(starts, np.append(starts[1:], len(novelty)), strict=True):
        first = start if reset_before[start] else first
        threshold = two_group_threshold(novelty[max(first, stop - QUEUE) : stop], otherwise=0.0)
        rejected[start:stop] = novelty[start:stop] > threshold
    return rejected


def rejection_rates(
    rejected: np.ndarray, right: np.ndarray, known: np.ndarray
) -> tuple[float, float, float]:
    """Return ACC_S, ACC_N and their harmonic mean ACC_H, fractions.

    ACC_S is the share of known images that are classified rightly and not rejected, ACC_N that of
    unknown images that are rejected.

    Args:
        rejected: bool ``[N]``.
        right: whether the class is right, bool ``[N]``; of unknown images it does not matter.
        known: bool ``[N]``, some true and some not.
    """
    accepted = float((right & ~rejected)[known].mean())
    refused = float(rejected[~known].mean())
    return accepted, refused, harmonic_mean(accepted, refused)


def rejection_figures(
    cosine: np.ndarray,
    starts: np.ndarray,
    right: np.ndarray,
    known: np.ndarray,
    counted: np.ndarray,
    reset_before: np.ndarray,
) -> dict[str, Any]:
    """Return ``acc_s``, ``acc_n`` and ``acc_h`` of a stream; None where one is not known.

    Args:
        cosine: scores of the images seen ``[N]`` in stream order.
        starts: positions of the stream's batches.
        right: see :func:`rejection_rates`.
        known: likewise.
        counted: whether the figures of the stream's images count; the queue has all of them.
        reset_before: see :func:`rejected_in_queue`.
    """
    names = ("acc_s", "acc_n", "acc_h")
    rows = np.flatnonzero(counted[: len(cosine)])
    if np.isnan(cosine).any() or known[rows].all() or not known[rows].any():
        return dict.fromkeys(names)
    novelty, starts = 1 - cosine.astype(float), starts[starts < len(cosine)]
    rejected = rejected_in_queue(novelty, starts, reset_before)
    rates = rejection_rates(rejected[rows], right[rows], known[rows])
    return dict(zip(names, rates, strict=True))
