"""Every image several times, moved by whole pixels: whether its class stays."""

from __future__ import annotations

import dataclasses

import numpy as np

from tta.streams.itineraries import chosen_domains, each_domain
from tta.streams.plan import Catalog, ScenarioOptions, StreamPlan
from tta.streams.scenario import scenario
from tta.streams.sizes import check_samples
from tta.streams.visits import draw, in_turn

WAYS = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))
"""Of the copies of an image, down and to the right: itself, then a step each way."""


@scenario(uses=("severity", "translate_by", "translate_edges"))
def translations(catalog: Catalog, options: ScenarioOptions) -> StreamPlan:
    """Every batch five times: as it is, then moved by a pixel up, down, left and right."""
    visits = draw(catalog, options, each_domain)
    shown = sum(len(visit.index) for visit in visits)
    check_samples(len(WAYS) * shown, "fewer --num-samples or --domains")
    plan = in_turn(chosen_domains(catalog, options), visits)
    return with_copies(plan, _shifts(options), options.batch_size)


def _shifts(options: ScenarioOptions) -> np.ndarray:
    """Return how copies are moved, as a plan's ``shift`` says it."""
    shifts = options.translate_by * np.array(WAYS)
    if options.translate_edges == "repeat":
        return shifts
    return np.column_stack([shifts, shifts.any(1)])  # what is not moved is as ever


def with_copies(plan: StreamPlan, shifts: np.ndarray, batch_size: int) -> StreamPlan:
    """Return a stream in which every batch comes again at once, moved.

    Whole batches, not images, are repeated: no batch shows an image twice, so that its statistics
    are those of a usual one, and copies are so near in time that what differs between them is
    hardly what was learned meanwhile. At batch size 1 the copies of an image follow each other.

    Args:
        plan: of images that are not moved.
        shifts: of the copies ``[K, 2]``, pixels down and to the right, or ``[K, 3]``, see
            :attr:`StreamPlan.shift`.
        batch_size: of the stream.
    """
    starts = np.flatnonzero(np.diff(plan.segment, prepend=plan.segment[0] - 1))
    lengths = np.diff(starts, append=len(plan))
    within = np.arange(len(plan)) - np.repeat(starts, lengths)
    batch = np.cumsum(within % batch_size == 0) - 1
    row = np.tile(np.arange(len(plan)), len(shifts))
    copy = np.repeat(np.arange(len(shifts)), len(plan))
    order = np.lexsort((row, copy, batch[row]))
    row, copy = row[order], copy[order]
    names = ("domain", "severity", "index", "visit")
    return dataclasses.replace(
        plan,
        **{name: getattr(plan, name)[row] for name in names},
        segment=batch[row] * len(shifts) + copy,
        reset_before=plan.reset_before[row] & (copy == 0),
        shift=shifts[copy],
    )


def agreements(
    plan: StreamPlan, prediction: np.ndarray, rows: np.ndarray | None = None
) -> np.ndarray:
    """Return whether each moved copy was classified as the same image unmoved ``[n]``, 1 or 0.

    NaN for what is not moved, and for copies whose unmoved image has not come at their visit. A
    copy is not as its image where the outputs of either are no numbers.

    Args:
        plan: with moved copies.
        prediction: classes of the samples seen so far; NaN where outputs tell none.
        rows: of which samples, with all copies of their images; None for all that were seen.
    """
    rows = np.arange(len(prediction)) if rows is None else rows
    prediction, count = prediction[rows], len(rows)
    columns = (plan.visit, plan.domain, plan.severity, plan.index)
    key = np.stack([column[rows] for column in columns], 1)
    image = np.unique(key, axis=0, return_inverse=True)[1].reshape(-1)
    moved = plan.shift[rows].any(1)
    unmoved, has_come = np.full(count, np.nan), np.zeros(count, bool)
    unmoved[image[~moved]], has_come[image[~moved]] = prediction[~moved], True
    same = (prediction == unmoved[image]).astype(np.float64)
    return np.where(moved & has_come[image], same, np.nan)


def translation_figures(plan: StreamPlan, prediction: np.ndarray) -> dict[str, float | None]:
    """Return the share of moved ``copies`` with the class of the same image unmoved, as a fraction.

    It is None where no copy has come yet. See :func:`agreements`.
    """
    same = agreements(plan, prediction)
    judged = same[~np.isnan(same)]
    consistency = float(judged.mean()) if len(judged) else None
    return {"copies": len(judged), "consistency": consistency}
