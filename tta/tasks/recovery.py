"""How soon a method is itself again after the domain has changed, in NumPy alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

STRETCH = 100
"""Images over which an error is told, at least; whole batches of them."""
LEAST_STRETCHES = 4
"""Of a visit, below which nothing is said of it."""
MARGIN = 0.1
"""Share of the settled error by which a recovered one may be above it."""


def recovery_of_visit(correct: np.ndarray, stretch: int) -> tuple[int, float] | None:
    """Return how many images came until a visit's error was near the settled one, and the excess.

    The settled error is that of the visit's second half. A stretch counts as recovered where its
    error is at most a tenth (of it) above; images are counted to the beginning of the first such
    stretch. The excess is the area between the error of stretches and the settled error where it
    is above, in images classified wrongly beyond those of a settled method.

    Args:
        correct: of the visit's images in stream order ``[n]``, 0 or 1.
        stretch: images of which an error is told; what is left at the end has none.

    Returns:
        None where the visit has fewer than :data:`LEAST_STRETCHES`.
    """
    correct, count = correct.astype(np.float64), len(correct) // stretch
    if count < LEAST_STRETCHES:
        return None
    settled = 1.0 - float(correct[len(correct) // 2 :].mean())
    errors = 1.0 - correct[: count * stretch].reshape(count, stretch).mean(1)
    near = np.flatnonzero(errors <= settled * (1 + MARGIN) + 1e-9)
    images = int(near[0]) * stretch if len(near) else count * stretch
    return images, float(np.maximum(errors - settled, 0).sum() * stretch)


def recovery(
    correct: np.ndarray, visit: np.ndarray, domain: np.ndarray, batch_size: int
) -> dict[str, Any] | None:
    """Return the means of :func:`recovery_of_visit` over changes of domain.

    Args:
        correct: of the images judged, in stream order ``[n]``, 0 or 1.
        visit: the visit that each belongs to ``[n]``.
        domain: number of its domain ``[n]``.
        batch_size: of the stream.

    Returns:
        ``recovery_images``, ``recovery_excess`` and over how many ``changes``; None where no visit
        after a change of domain is long enough, or domains are mixed.
    """
    starts = np.flatnonzero(np.diff(visit)) + 1
    if not 0 < len(starts) < len(np.unique(visit)):
        return None  # one visit, or interleaved ones
    stretch = batch_size * math.ceil(STRETCH / batch_size)
    parts = zip(starts, [*starts[1:], len(visit)], strict=True)
    changes = [(start, stop) for start, stop in parts if domain[start] != domain[start - 1]]
    found = [recovery_of_visit(correct[start:stop], stretch) for start, stop in changes]
    known = np.array([one for one in found if one is not None])
    if not len(known):
        return None
    images, excess = known.mean(0).tolist()
    return {"recovery_images": images, "recovery_excess": excess, "changes": len(known)}
