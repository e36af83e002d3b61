"""Figures of streams whose batches are tasks of their own."""

from __future__ import annotations

from typing import Any

import numpy as np


def accuracy_over_tasks(correct: np.ndarray, task: np.ndarray) -> dict[str, Any]:
    """Return the unweighted mean of the accuracies of tasks, as StatA (CVPR 2025) reports it.

    Args:
        correct: of images ``[N]``, 0 or 1.
        task: number of each image's task ``[N]``.

    Returns:
        ``count`` of the tasks, and ``mean_accuracy``, a fraction; None where there is none.
    """
    if not len(task):
        return {"count": 0, "mean_accuracy": None}
    number = np.unique(task, return_inverse=True)[1]
    accuracies = np.bincount(number, correct) / np.bincount(number)
    return {"count": len(accuracies), "mean_accuracy": float(accuracies.mean())}
