"""Calibration of top-1 confidences, in NumPy alone."""

from __future__ import annotations

import numpy as np

ECE_BINS = 15


def confidence_bins(confidence: np.ndarray, bins: int = ECE_BINS) -> np.ndarray:
    """Return the number of the equal-width bin, closed on the right, of confidences (0 to 1).

    What is not a number goes to the first.
    """
    return np.clip(np.ceil(np.nan_to_num(confidence) * bins).astype(int) - 1, 0, bins - 1)


def expected_calibration_error(
    confidence: np.ndarray, correct: np.ndarray, bins: int = ECE_BINS
) -> float:
    """Return the ECE over equal-width bins of the top-1 confidence, a fraction (0 to 1).

    NaN where any confidence is. Guo et al., On calibration of modern neural networks, ICML 2017.
    """
    number = confidence_bins(confidence, bins)
    gaps = np.bincount(number, correct - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / max(len(confidence), 1))
