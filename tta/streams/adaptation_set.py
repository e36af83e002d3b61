"""A stream parted in two: images that a method adapts to, and others that it is judged by."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from tta.foundation.errors import UserError
from tta.streams.plan import StreamPlan

TEST_SHARE = 0.5
"""Of the images of a domain, those that nothing adapts to."""


def hold_out(
    plan: StreamPlan,
    labels: np.ndarray,
    sizes: np.ndarray,
    seed: int,
    samples: int | None,
    classes: int | tuple[int, ...] | None,
) -> StreamPlan:
    """Return a stream in which each segment is some images to adapt to, then test images.

    Images are on one side or the other by their number in the domain: where domains show the same
    images, none that a method has adapted to is a test image in any of them. BoTTA (2025) asks
    this; sizes and shares are ours.

    Args:
        plan: of any scenario.
        labels: of its samples ``[N]``.
        sizes: images of each sample's domain ``[N]``.
        seed: of the division, and of the classes where a number of them is given.
        samples: to adapt to in each segment, the first that come; None for all of that side.
        classes: that are adapted to: how many, or which; None for all. Unknown images, which have
            none, are on the side to adapt to whatever it is.

    Raises:
        UserError: a segment has nothing to adapt to, or nothing to be judged by.
    """
    test = _is_test(plan.index, sizes, seed)
    seen = np.isin(labels, seen_classes(labels, seed, classes))
    chosen = ~test & (seen | (labels < 0))
    starts = np.flatnonzero(np.diff(plan.segment, prepend=plan.segment[0] - 1))
    parts = np.split(np.arange(len(plan)), starts[1:])
    rows = [_part(rows, chosen, test, samples) for rows in parts]
    order = np.concatenate([row for pair in rows for row in pair])
    lengths = [len(row) for pair in rows for row in pair]
    adaptation = np.repeat(np.arange(len(lengths)) % 2 == 0, lengths)
    segment = np.repeat(np.arange(len(lengths)), lengths)
    resets = _resets(plan, parts, lengths)
    names = ("domain", "severity", "index", "visit")
    columns = {name: getattr(plan, name)[order] for name in names}
    return dataclasses.replace(
        plan, **columns, segment=segment, reset_before=resets, adaptation=adaptation
    )


def seen_classes(
    labels: np.ndarray, seed: int, classes: int | tuple[int, ...] | None
) -> np.ndarray:
    """Return the numbers of the classes that are adapted to, in ascending order.

    Raises:
        UserError: the stream has not so many, or not these.
    """
    there = np.unique(labels[labels >= 0])
    if classes is None:
        return there
    if not len(there):
        raise UserError(
            "--adapt-classes chooses among the classes of the stream, and no image of it is of a "
            "known class; leave it out, or show images of known classes"
        )
    if isinstance(classes, int):
        if classes > len(there):
            raise UserError(
                f"--adapt-classes {classes} is more than the {len(there)} classes of the stream"
            )
        return np.sort(np.random.default_rng([seed, 3]).permutation(there)[:classes])
    lacking = sorted(set(classes) - set(there.tolist()))
    if lacking:
        raise UserError(
            f"--adapt-classes names class {lacking[0]}, and the stream's are "
            f"{there[0]} to {there[-1]}"
        )
    return np.array(classes)


def _is_test(index: np.ndarray, sizes: np.ndarray, seed: int) -> np.ndarray:
    """Return which samples are test images, by their numbers in domains of these sizes."""
    test = np.zeros(len(index), bool)
    for size in np.unique(sizes):
        order = np.random.default_rng([seed, int(size), 2]).permutation(int(size))
        is_test = np.zeros(int(size), bool)
        is_test[order[: round(TEST_SHARE * int(size))]] = True
        rows = sizes == size
        test[rows] = is_test[index[rows]]
    return test


def _part(
    rows: np.ndarray, chosen: np.ndarray, test: np.ndarray, samples: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of a segment to adapt to, and those to be judged by."""
    first, second = rows[chosen[rows]][:samples], rows[test[rows]]
    if not len(first) or not len(second):
        raise UserError(
            f"a part of {len(rows)} images leaves {len(rows[chosen[rows]])} to adapt to and "
            f"{len(second)} to be judged by; use more --num-samples or more --adapt-classes"
        )
    return first, second


def _resets(plan: StreamPlan, parts: list[np.ndarray], lengths: list[int]) -> np.ndarray:
    """Return where the method is reset: before a segment that began with a reset."""
    resets = np.zeros(sum(lengths), bool)
    starts = np.cumsum([0, *lengths])[:-1:2]
    resets[starts] = [plan.reset_before[rows].any() for rows in parts]
    return resets


def held_out_figures(plan: StreamPlan, labels: np.ndarray, correct: np.ndarray) -> dict[str, Any]:
    """Return how test images of seen and of unseen classes were classified.

    Seen is a class that the method has adapted to since its latest reset.

    Args:
        plan: with an adaptation set.
        labels: of its samples ``[N]``.
        correct: of the samples seen so far ``[n]``, 0 or 1.

    Returns:
        ``adapted_images``; ``seen_classes`` and ``unseen_classes``, how many that have test images;
        and the accuracy of each, a fraction over all these, None where there are none.
    """
    count = len(correct)
    judged, labels = plan.counted[:count] & (labels[:count] >= 0), labels[:count]
    is_seen = _is_seen(plan, labels)
    groups = {"seen": judged & is_seen, "unseen": judged & ~is_seen}
    classes = {name: np.unique(labels[rows]) for name, rows in groups.items()}
    return {
        "adapted_images": int((~plan.counted[:count]).sum()),
        **{f"{name}_classes": len(found) for name, found in classes.items()},
        **{
            f"{name}_accuracy": float(correct[rows].mean()) if rows.any() else None
            for name, rows in groups.items()
        },
    }


def _is_seen(plan: StreamPlan, labels: np.ndarray) -> np.ndarray:
    """Return whether the class of each sample was adapted to before it, since the latest reset."""
    count = len(labels)
    adapted, resets = ~plan.counted[:count], np.cumsum(plan.reset_before[:count])
    is_seen = np.zeros(count, bool)
    for reset in np.unique(resets):
        rows = np.flatnonzero(resets == reset)
        for label in np.unique(labels[rows]):
            same = rows[labels[rows] == label]
            is_seen[same] = np.cumsum(adapted[same]) > 0
    return is_seen
