"""Where scores fall into two groups, in NumPy alone."""

from __future__ import annotations

import numpy as np

_CANDIDATES = np.arange(0, 1, 0.01)


def two_group_threshold(scores: np.ndarray, otherwise: float) -> float:
    """Return the threshold in {0, 0.01, ..., 0.99} that leaves least variance within two groups.

    Otsu's criterion, the first of equals: ``w_0 Var(scores < t) + w_1 Var(scores >= t)`` with the
    shares w of both groups.

    Args:
        scores: ``[n]``.
        otherwise: what is returned where every candidate leaves one group empty.
    """
    scores = scores.astype(np.float64)
    spreads = [_spread_within(scores, scores < candidate) for candidate in _CANDIDATES]
    best = int(np.argmin(spreads))
    return float(_CANDIDATES[best]) if np.isfinite(spreads[best]) else otherwise


def _spread_within(scores: np.ndarray, lower: np.ndarray) -> float:
    share = lower.mean() if len(lower) else 0.0
    if share in (0.0, 1.0):
        return np.inf
    return share * scores[lower].var() + (1 - share) * scores[~lower].var()
