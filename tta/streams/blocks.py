"""Domains cut into blocks that follow each other at random."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tta.streams.plan import ScenarioOptions, StreamPlan
from tta.streams.visits import Order, Visit, ordered

DrawBlock = Callable[[Mapping[int, int]], tuple[int, int]]
"""Draws a domain and a number of batches from 1 on, given the greatest one of each domain."""


def cut_blocks(
    sizes: Sequence[int], batch_size: int, draw: DrawBlock
) -> list[tuple[int, int, int]]:
    """Return blocks of domains as (domain, start, stop), in stream order.

    While domains have samples left, one of them is drawn and so many batches of it, at most as
    many as it may still have: at first one more than whole batches fit. Where these fit exactly,
    the whole rest is therefore twice as likely as any other length, as in the authors' code.
    Continual dynamic change (CDC) of DPCore (Zhang et al., ICML 2025) and ReservoirTTA.

    Args:
        sizes: samples of each domain.
        batch_size: samples of a batch.
        draw: of a block.
    """
    starts = [0] * len(sizes)
    batches = {domain: size // batch_size + 1 for domain, size in enumerate(sizes) if size}
    blocks = []
    while batches:
        domain, count = draw(batches)
        start = starts[domain]
        starts[domain] = min(start + count * batch_size, sizes[domain])
        blocks.append((domain, start, starts[domain]))
        batches[domain] -= count
        if starts[domain] == sizes[domain]:
            del batches[domain]
    return blocks


def random_block(rng: np.random.Generator) -> DrawBlock:
    """Return a source of uniform draws: of the domain, and of the number of batches."""

    def draw(batches: Mapping[int, int]) -> tuple[int, int]:
        domain = int(rng.choice(list(batches)))
        return domain, int(rng.integers(1, batches[domain] + 1))

    return draw


def in_blocks(
    domains: tuple[str, ...],
    visits: Sequence[Visit],
    options: ScenarioOptions,
    order: Order | None = None,
    reset: bool = False,
) -> StreamPlan:
    """Return a stream of blocks, round after round.

    Batches run across blocks, and end with the round, unless the method is reset where the domain
    changes. A domain may follow itself, also in the next round: there nothing shifts.

    Args:
        domains: names that visits number.
        visits: to each domain in turn, for every round.
        options: whose seed draws.
        order: of the samples of each visit; None leaves them shuffled.
        reset: see above.
    """
    if order is not None:
        visits = ordered(visits, options, order)
    blocks = _rounds(visits, len(domains), options)
    lengths = [stop - start for _, start, stop in blocks]
    visit = np.repeat([number for number, _, _ in blocks], lengths)
    domain = np.array([one.domain for one in visits])[visit]
    round_ = visit // len(domains)
    shifts = np.concatenate([[True], domain[1:] != domain[:-1]])
    ends = shifts | (np.diff(round_, prepend=0) != 0)
    return StreamPlan(
        domains=domains,
        domain=domain,
        severity=np.array([one.severity for one in visits])[visit],
        index=np.concatenate([visits[number].index[start:stop] for number, start, stop in blocks]),
        visit=visit,
        segment=np.cumsum(ends) - 1 if reset else round_,
        reset_before=shifts & reset,
    )


def _rounds(
    visits: Sequence[Visit], domains: int, options: ScenarioOptions
) -> list[tuple[int, int, int]]:
    """Return the blocks of all rounds as (number of the visit, start, stop)."""
    blocks = []
    for first in range(0, len(visits), domains):
        sizes = [len(visit.index) for visit in visits[first : first + domains]]
        draw = random_block(np.random.default_rng([options.seed, first, 3]))
        cut = cut_blocks(sizes, options.batch_size, draw)
        blocks += [(first + domain, start, stop) for domain, start, stop in cut]
    return blocks
