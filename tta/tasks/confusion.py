"""Figures of confusion matrices of pixels, in NumPy alone.

A matrix is ``[C, C + 1]``: rows are labels, columns predictions, and the last column counts pixels
whose outputs tell no class. Pixels that are to be ignored are in none. Matrices add up: that of a
domain is the sum of those of its images.
"""

from __future__ import annotations

import numpy as np


def right(matrix: np.ndarray) -> np.ndarray:
    """Return the right pixels of each class ``[..., C]`` of matrices ``[..., C, C + 1]``."""
    return np.diagonal(matrix, axis1=-2, axis2=-1)


def class_iou(matrix: np.ndarray) -> np.ndarray:
    """Return the intersection over union of each class, fractions, of matrices ``[..., C, C + 1]``.

    ``M_cc / (sum_j M_cj + sum_i M_ic - M_cc)``. NaN for a class that is neither among labels nor
    among predictions; 0 for one that is predicted and among no labels (as mmsegmentation has it).
    """
    matrix = matrix.astype(np.float64)
    both = right(matrix)
    return ratio(both, matrix.sum(-1) + matrix[..., :-1].sum(-2) - both)


def mean_iou(matrix: np.ndarray) -> np.ndarray:
    """Return the mean of :func:`class_iou` over the classes that have one; NaN where none has."""
    found = class_iou(matrix)
    known = ~np.isnan(found)
    return ratio(np.where(known, found, 0).sum(-1), known.sum(-1))


def pixel_accuracy(matrix: np.ndarray) -> np.ndarray:
    """Return the share of pixels that are classified rightly; NaN where there is none."""
    return ratio(right(matrix).sum(-1), matrix.sum((-2, -1)))


def class_accuracies(matrix: np.ndarray) -> np.ndarray:
    """Return the share of the pixels of each class that are classified rightly; NaN without any."""
    return ratio(right(matrix), matrix.sum(-1))


def mean_class_accuracy(matrix: np.ndarray) -> np.ndarray:
    """Return the mean of :func:`class_accuracies` over the classes among labels; NaN for none."""
    found = class_accuracies(matrix)
    known = ~np.isnan(found)
    return ratio(np.where(known, found, 0).sum(-1), known.sum(-1))


def mean_over_images(figures: np.ndarray) -> float:
    """Return the mean of figures ``[N]`` of images; those that have none, NaN, do not count."""
    known = figures[~np.isnan(figures)]
    return float(known.mean()) if len(known) else float("nan")


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return ``part / whole``, NaN where the whole is 0."""
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
