"""OWTTT's decisions on the host: two groups of scores, and which samples are new."""

from __future__ import annotations

import numpy as np

from tta.ops.two_groups import two_group_threshold


def far_from_threshold(scores: np.ndarray, known: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    """Return the mask ``[B]`` of the surer half of the known and of the unknown samples.

    Of n known samples those below the (n // 2)-th smallest score, so none of three; of m unknown
    ones those above the one of rank m // 2 from the greatest, counted from 0.

    Args:
        scores: ``[B]``, low for known.
        known: mask ``[B]``.
        unknown: mask ``[B]``.
    """
    kept = np.zeros(len(scores), bool)
    low, high = np.sort(scores[known]), np.sort(scores[unknown])[::-1]
    if len(low) > 1:
        kept |= known & (scores < low[len(low) // 2 - 1])
    if len(high):
        kept |= unknown & (scores > high[len(high) // 2])
    return kept


def new_prototypes(
    distance: np.ndarray,
    pool: np.ndarray,
    between: np.ndarray,
    unknown: np.ndarray,
    limit: int,
) -> list[int]:
    """Return the samples to add to the pool of prototypes of the unknown, in their order.

    From the least alike to any class on, an unknown sample is added if its distance to the
    nearest prototype, those just added among them, exceeds a threshold between two groups of the
    unknown samples' distances before.

    Args:
        distance: one minus the largest cosine to a class ``[B]``.
        pool: cosines to the prototypes in the pool, the oldest first ``[B, P]``.
        between: cosines between the samples ``[B, B]``.
        unknown: mask ``[B]``.
        limit: prototypes in a full pool; an addition then takes the place of the oldest.
    """
    nearest = np.column_stack([distance, 1 - pool]).min(1)
    threshold = two_group_threshold(nearest[unknown], otherwise=0.0)
    rows, held, added = np.flatnonzero(unknown), list(pool.T), []
    for sample in rows[np.argsort(-distance[rows], kind="stable")]:
        apart = [distance[sample], *(1 - prototype[sample] for prototype in held[-limit:])]
        if min(apart) > threshold:
            held.append(between[:, sample])
            added.append(int(sample))
    return added
