"""Unknown images mixed into the stream of any scenario."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tta.foundation.errors import UserError
from tta.streams.plan import StreamPlan

Counts = Callable[[str, int], tuple[int, int]]
"""Gives how many known and unknown images a domain has at a severity."""


@dataclass(frozen=True)
class UnknownMix:
    """How unknown images are mixed in.

    Attributes:
        ratio: unknown images per known one.
        order: ``shuffled`` strews them among the known images, which keep their order; ``paired``
            has them in the second half of every batch (UniEnt, CVPR 2024); ``burst`` shows all of
            a segment's after half of its known images.
        batch_size: of the stream, which ``paired`` halves.
        seed: of the stream.
    """

    ratio: float
    order: str
    batch_size: int
    seed: int

    def __post_init__(self) -> None:
        if self.order == "paired" and self.batch_size % 2:
            raise UserError(
                "--unknown-mix paired fills half of every batch with unknown images, and "
                f"{self.batch_size} is odd; pass an even --batch-size"
            )

    def unknown_beside(self, known: int) -> int:
        """Return how many unknown images come with so many known ones of a visit."""
        return int(self.ratio * known + 0.5)

    def known_in_a_batch(self) -> int:
        """Return the most known images that make one batch with their unknown ones.

        Raises:
            UserError: a batch has no room for one.
        """
        for known in range(self.batch_size, 0, -1):
            if self._fits(known, self.unknown_beside(known)):
                return known
        raise UserError(
            f"this --scenario makes each batch a task of its own, and one of {self.batch_size} has "
            f"no room for an image and its unknown ones at --unknown-ratio {self.ratio:g}; pass a "
            "larger --batch-size or a smaller ratio"
        )

    def _fits(self, known: int, unknown: int) -> bool:
        if self.order == "paired":
            return max(known, unknown) <= self.batch_size // 2
        return known + unknown <= self.batch_size


def with_unknown(plan: StreamPlan, counts: Counts, mix: UnknownMix) -> StreamPlan:
    """Return a plan with unknown images among its own.

    Each segment, and each stretch between resets, gets its share: of every visit in it, ``ratio``
    times its images, from the unknown images of the same domain and severity, drawn at random
    without replacement, all of them before one comes again. An unknown image's index follows those
    of the known ones of its domain.

    Args:
        plan: of known images alone.
        counts: how many images there are.
        mix: how many unknown images come where.

    Raises:
        UserError: they are too few for one to come.
    """
    starts = np.append(True, (np.diff(plan.segment) != 0) | plan.reset_before[1:])
    edges = np.append(np.flatnonzero(starts), len(plan))
    parts, segments = [], 0
    for number, rows in enumerate(map(slice, edges[:-1], edges[1:])):
        rng = np.random.default_rng([mix.seed, number, 3])
        part = _mixed(plan, rows, counts, mix, rng)
        part["segment"] += segments
        segments = part["segment"][-1] + 1
        parts.append(part)
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    if len(columns["index"]) == len(plan):
        raise UserError(
            f"--unknown-ratio {mix.ratio:g} comes to no unknown image in any of {len(parts)} parts "
            f"of a stream of {len(plan)}; pass a larger ratio or more --num-samples"
        )
    return StreamPlan(domains=plan.domains, **columns)


def _mixed(
    plan: StreamPlan, rows: slice, counts: Counts, mix: UnknownMix, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    known = np.stack([plan.visit, plan.domain, plan.severity, plan.index], 1)[rows]
    places, sizes = np.unique(known[:, :3], axis=0, return_counts=True)
    unknown = [
        _drawn(plan, place, mix.unknown_beside(int(size)), counts, rng)
        for place, size in zip(places, sizes, strict=True)
    ]
    table = np.concatenate([known, *unknown])
    order, block = layout(len(known), len(table) - len(known), mix, rng)
    visit, domain, severity, index = table[order].T
    reset = np.zeros(len(table), bool)
    reset[0] = plan.reset_before[rows][0]
    return {
        "domain": domain,
        "severity": severity,
        "index": index,
        "visit": visit,
        "segment": block,
        "reset_before": reset,
    }


def _drawn(
    plan: StreamPlan, place: np.ndarray, count: int, counts: Counts, rng: np.random.Generator
) -> np.ndarray:
    """Return the rows ``[count, 4]`` of the unknown images of a place: visit, domain, severity."""
    _, domain, severity = place.tolist()
    first, pool = counts(plan.domains[domain], severity)
    rounds = [rng.permutation(pool) for _ in range(-(-count // pool))]
    index = first + np.concatenate([np.empty(0, np.int64), *rounds])[:count]
    return np.column_stack([np.tile(place, (count, 1)), index])


def layout(
    known: int, unknown: int, mix: UnknownMix, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the order ``[N]`` of ``known`` images, counted from 0, and unknown ones behind them.

    Also the number ``[N]`` of the segment that each is in.
    """
    if mix.order == "shuffled":
        order = rng.permutation(known + unknown)
        order[order < known] = np.arange(known)
        return order, np.zeros_like(order)
    if mix.order == "burst":
        half = known // 2
        order = np.r_[:half, known : known + unknown, half:known]
        return order, np.zeros_like(order)
    half = mix.batch_size // 2
    turn = np.concatenate([np.arange(known) // half * 2, np.arange(unknown) // half * 2 + 1])
    order = np.argsort(turn, kind="stable")
    return order, np.unique(turn[order] // 2, return_inverse=True)[1]
