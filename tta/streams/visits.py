"""Which domain comes when: itineraries, the images drawn for each visit, and their sequence."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tta.foundation.errors import UserError, did_you_mean
from tta.streams.plan import Catalog, ScenarioOptions, StreamPlan

GRADUAL_SEVERITIES = (1, 2, 3, 4, 5, 4, 3, 2, 1)

Itinerary = Callable[[Catalog, ScenarioOptions], list[tuple[str, int]]]
"""Gives the (domain, severity) of every visit, in order, without asking for labels."""
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


def chosen_domains(catalog: Catalog, options: ScenarioOptions) -> tuple[str, ...]:
    """Return the domains of the stream.

    Raises:
        UserError: one is unknown, or named twice.
    """
    chosen = options.domains or catalog.domains
    for domain in chosen:
        if domain not in catalog.domains:
            hint = did_you_mean(domain, catalog.domains)
            if any("," in known for known in catalog.domains):
                hint += """ a name with a comma stands in double quotes: --domains '"A, B",C'"""
            raise UserError(f"dataset {catalog.name!r} has no domain {domain!r}; {hint}")
    if len(set(chosen)) < len(chosen):
        raise UserError(f"--domains names a domain twice: {', '.join(chosen)}; name each once")
    return chosen


def each_domain(catalog: Catalog, options: ScenarioOptions) -> list[tuple[str, int]]:
    """Visit every domain once, at the chosen severity.

    Raises:
        UserError: the data set lacks the domain or severity.
    """
    severity = _chosen_severity(catalog, options)
    return [(domain, severity) for domain in chosen_domains(catalog, options)]


def _chosen_severity(catalog: Catalog, options: ScenarioOptions) -> int:
    if options.severity is None:
        return catalog.default_severity
    if options.severity not in catalog.severities:
        known = ", ".join(map(str, catalog.severities))
        raise UserError(
            f"dataset {catalog.name!r} has no severity {options.severity}; it has: {known}"
        )
    return options.severity


def up_and_down(catalog: Catalog, options: ScenarioOptions) -> list[tuple[str, int]]:
    """Visit every domain at severities 1-2-3-4-5-4-3-2-1.

    Raises:
        UserError: the data set lacks a severity or the domain.
    """
    if not set(GRADUAL_SEVERITIES) <= set(catalog.severities):
        raise UserError(
            f"gradual scenarios need severities 1 to 5, which dataset {catalog.name!r} "
            "lacks; choose another scenario"
        )
    _chosen_severity(catalog, options)
    domains = chosen_domains(catalog, options)
    return [(domain, severity) for domain in domains for severity in GRADUAL_SEVERITIES]


def draw(catalog: Catalog, options: ScenarioOptions, itinerary: Itinerary) -> list[Visit]:
    """Return the visits of an itinerary, each with its samples in random order."""
    return [
        _draw_one(catalog, options, position, domain, severity)
        for position, (domain, severity) in enumerate(itinerary(catalog, options))
    ]


def _draw_one(
    catalog: Catalog, options: ScenarioOptions, position: int, domain: str, severity: int
) -> Visit:
    labels = catalog.labels(domain, severity)
    if catalog.in_order:
        index = np.arange(min(len(labels), options.num_samples or len(labels)))
        return Visit(0, severity, index, labels[index])
    index = _subset(len(labels), options.num_samples)
    key = [options.seed, position, severity, zlib.crc32(domain.encode())]
    index = np.random.default_rng(key).permutation(index)
    number = chosen_domains(catalog, options).index(domain)
    return Visit(number, severity, index, labels[index])


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
