"""Open-set recognition: how well a score tells known images from unknown ones, in NumPy alone.

Scores are higher for known images. ``known`` are those of known images ``[I]``, ``unknown`` those
of unknown ones ``[O]``, at least one of each, all of them numbers. Figures are fractions.
"""

from __future__ import annotations

import math

import numpy as np

UNKNOWN = -1
"""The label of an image of none of the classes."""
TPR = 0.95
"""Share of the known images that is accepted where the false positive rate is read."""


def auroc(known: np.ndarray, unknown: np.ndarray) -> float:
    """Return the probability that a known image scores higher than an unknown one.

    Ties count half.
    """
    ordered = np.sort(unknown)
    below = np.searchsorted(ordered, known, "left") + np.searchsorted(ordered, known, "right")
    return float(below.sum() / (2 * len(known) * len(unknown)))


def roc_curve(known: np.ndarray, unknown: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return false and true positive rates ``[T + 1]``, from (0, 0) to (1, 1).

    An image is accepted where its score is at least the threshold: each of the T distinct scores
    in turn, the highest first.
    """
    thresholds = np.unique(np.concatenate([known, unknown]))[::-1]
    fpr, tpr = (_share_from(scores, thresholds) for scores in (unknown, known))
    return np.append(0.0, fpr), np.append(0.0, tpr)


def _share_from(scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Return the share of scores that are at least each threshold."""
    return 1.0 - np.searchsorted(np.sort(scores), thresholds, "left") / len(scores)


def fpr_interpolated(known: np.ndarray, unknown: np.ndarray) -> float:
    """Return the share of unknown images accepted where 95 % of the known ones are.

    Between two points of the ROC curve it is interpolated, as UniEnt's and CLIPTTA's code does; of
    several points with one true positive rate the last counts, which has the most false ones.
    """
    fpr, tpr = roc_curve(known, unknown)
    return float(np.interp(TPR, tpr, fpr))


def fpr_stepped(known: np.ndarray, unknown: np.ndarray) -> float:
    """Return the share of unknown images that score at least as the known one at 95 % does.

    The threshold is the score of a known image, the ceil(0.95 I)-th highest, as OpenOOD has it.
    """
    rank = math.ceil(round(TPR * len(known), 9))
    return float((unknown >= np.sort(known)[-rank]).mean())


def fpr_nearest(known: np.ndarray, unknown: np.ndarray) -> float:
    """Return the share of unknown images missed where the known ones rejected are nearest to 5 %.

    COME's reading of a detection curve (Zhang et al., ICLR 2025): 1 where that share is no nearer
    than 10 %.
    """
    thresholds = np.unique(np.concatenate([known, unknown]))
    rejected, missed = (
        np.append(0.0, np.searchsorted(np.sort(scores), thresholds, "right") / len(scores))
        for scores in (known, unknown)
    )
    distance = np.abs(rejected - (1 - TPR))
    nearest = len(distance) - 1 - int(np.argmin(distance[::-1]))
    return 1.0 if rejected[nearest] > 2 * (1 - TPR) else float(1.0 - missed[nearest])


def average_precision(positive: np.ndarray, negative: np.ndarray) -> float:
    """Return the area below the precision-recall curve, in steps.

    The sum over thresholds of precision times the gain in recall, no interpolation.
    """
    thresholds = np.unique(positive)[::-1]
    recall = _share_from(positive, thresholds)
    true, false = recall * len(positive), _share_from(negative, thresholds) * len(negative)
    return float(np.diff(recall, prepend=0.0) @ (true / (true + false)))


def oscr(known: np.ndarray, right: np.ndarray, unknown: np.ndarray) -> float:
    """Return the area below the correct classification rate over the false positive rate.

    Dhamija et al., NeurIPS 2018, with the points of UniEnt's code: at every score t the share of
    known images that are ``right`` (bool ``[I]``) and score above t, and the share of unknown
    ones that score at least t; (0, 0) and (1, 1) are added, neighbours joined by lines.
    """
    thresholds = np.concatenate([known, unknown])
    accepted = np.sort(known[right])
    ccr = (len(accepted) - np.searchsorted(accepted, thresholds, "right")) / len(known)
    fpr = _share_from(unknown, thresholds)
    ccr, fpr = np.append(ccr, [0.0, 1.0]), np.append(fpr, [0.0, 1.0])
    order = np.lexsort((ccr, fpr))
    ccr, fpr = ccr[order], fpr[order]
    return float(np.diff(fpr) @ (ccr[1:] + ccr[:-1]) / 2)


def harmonic_mean(first: float, second: float) -> float:
    """Return the harmonic mean of two fractions, 0 where both are."""
    return 2 * first * second / (first + second) if first + second else 0.0
