"""The images drawn for each visit to a domain, and the sequence of the visits."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tta.streams.itineraries import Itinerary, chosen_domains
from tta.streams.plan import Catalog, ScenarioOptions, StreamPlan
from tta.streams.sizes import check_samples

Order = Callable[[np.ndarray, ScenarioOptions, int], np.ndarray]
"""Gives an order of the samples with some labels ``[N]``; the number tells visits apart."""


@dataclass(frozen=True)
class Visit:
    """The samples of one visit to a domain, in stream order.

    Attributes:
        domain: its number among the chosen ones.
        severity: of the corruption.
        index: of the samples in the domain ``[N]``.
        labels: of the samples ``[N]``.
    """

    domain: int
    severity: int
    index: np.ndarray
    labels: np.ndarray


def draw(catalog: Catalog, options: ScenarioOptions, itinerary: Itinerary) -> list[Visit]:
    """Return the visits of an itinerary, each with its samples in random order.

    Raises:
        UserError: they would have too many samples.
    """
    places = itinerary(catalog, options)
    labels = {place: catalog.labels(*place) for place in dict.fromkeys(places)}
    shown = {place: _shown(len(known), options.num_samples) for place, known in labels.items()}
    total = sum(shown[place] for place in places)
    check_samples(total, "fewer --num-samples, --visits or --domains")
    numbers = {name: number for number, name in enumerate(chosen_domains(catalog, options))}
    if catalog.in_order:
        index = {place: np.arange(count) for place, count in shown.items()}
        return [Visit(0, place[1], index[place], labels[place][index[place]]) for place in places]
    return [
        _draw_one(options, position, numbers[place[0]], place, labels[place])
        for position, place in enumerate(places)
    ]


def _draw_one(
    options: ScenarioOptions, position: int, number: int, place: tuple[str, int], labels: np.ndarray
) -> Visit:
    domain, severity = place
    index = _subset(len(labels), options.num_samples)
    key = [options.seed, position, severity, zlib.crc32(domain.encode())]
    index = np.random.default_rng(key).permutation(index)
    return Visit(number, severity, index, labels[index])


def sizes_of(
    catalog: Catalog, options: ScenarioOptions, places: Sequence[tuple[str, int]]
) -> list[int]:
    """Return how many samples each (domain, severity) shows."""
    return [_shown(len(catalog.labels(*place)), options.num_samples) for place in places]


def _shown(size: int, num_samples: int | None) -> int:
    return size if num_samples is None else min(size, num_samples)


def _subset(size: int, num_samples: int | None) -> np.ndarray:
    if num_samples is None or num_samples >= size:
        return np.arange(size)
    return np.sort(np.random.default_rng(size).permutation(size)[:num_samples])


def ordered(visits: Sequence[Visit], options: ScenarioOptions, order: Order) -> list[Visit]:
    """Return visits whose samples are in another order, or drawn again."""

    def one(number: int, visit: Visit) -> Visit:
        rows = order(visit.labels, options, number)
        return dataclasses.replace(visit, index=visit.index[rows], labels=visit.labels[rows])

    return [one(number, visit) for number, visit in enumerate(visits)]


def in_turn(domains: tuple[str, ...], visits: Sequence[Visit], reset: bool = False) -> StreamPlan:
    """Return a stream of one visit after another.

    Args:
        domains: names that visits number.
        visits: in stream order.
        reset: whether the method is reset before each.
    """
    lengths = [len(visit.index) for visit in visits]
    number = np.repeat(np.arange(len(visits)), lengths)
    starts = np.concatenate([[True], number[1:] != number[:-1]])
    return StreamPlan(
        domains=domains,
        domain=np.repeat([visit.domain for visit in visits], lengths),
        severity=np.repeat([visit.severity for visit in visits], lengths),
        index=np.concatenate([visit.index for visit in visits]),
        visit=number,
        segment=number,
        reset_before=starts & reset,
    )


def together(
    domains: tuple[str, ...],
    visits: Sequence[Visit],
    options: ScenarioOptions,
    order: Order | None = None,
) -> StreamPlan:
    """Return a stream of all visits shuffled into one, never reset.

    Args:
        domains: names that visits number.
        visits: in any order.
        options: whose seed shuffles.
        order: of the shuffled samples; None leaves them so.
    """
    lengths = [len(visit.index) for visit in visits]
    rows = np.random.default_rng([options.seed, len(visits)]).permutation(sum(lengths))
    if order is not None:
        labels = np.concatenate([visit.labels for visit in visits])
        rows = rows[order(labels[rows], options, len(visits))]
    domain = np.repeat([visit.domain for visit in visits], lengths)[rows]
    return StreamPlan(
        domains=domains,
        domain=domain,
        severity=np.repeat([visit.severity for visit in visits], lengths)[rows],
        index=np.concatenate([visit.index for visit in visits])[rows],
        visit=domain,
        segment=np.zeros(len(rows), np.int64),
        reset_before=np.zeros(len(rows), bool),
    )
