"""Scenarios: the order in which a stream shows its samples, as one hashed index table.

A plan is a pure function of the data set's sizes and labels, the options and the seed. Every
method that runs with the same options sees the same stream, and the digest proves it.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from tta.foundation.errors import UserError, did_you_mean
from tta.streams.label_order import dirichlet_order, grouped_order, zipf_sample

GRADUAL_SEVERITIES = (1, 2, 3, 4, 5, 4, 3, 2, 1)


class Catalog(Protocol):
    """What a scenario may know of a data set."""

    name: str
    domains: tuple[str, ...]
    severities: tuple[int, ...]
    default_severity: int
    in_order: bool

    def labels(self, domain: str, severity: int) -> np.ndarray: ...

    def stored_order(self) -> tuple[np.ndarray, np.ndarray]: ...


@dataclass(frozen=True)
class ScenarioOptions:
    """Options of a stream.

    Attributes:
        seed: of the shuffles.
        severity: corruption severity; None for the data set's default.
        domains: which domains, in this order; None for all in the published order.
        num_samples: images per domain and severity; None for all. The same images for every
            seed, and in every domain of the same size.
        dirichlet: concentration of the label order in correlated scenarios; 0 sorts by label.
        zipf: exponent of the class proportions in the imbalanced scenario, above 1.
    """

    seed: int = 1
    severity: int | None = None
    domains: tuple[str, ...] | None = None
    num_samples: int | None = None
    dirichlet: float = 0.0
    zipf: float = 2.0


@dataclass(frozen=True)
class StreamPlan:
    """One row per sample, in stream order; all arrays have the stream's length.

    Attributes:
        domains: names that ``domain`` numbers.
        domain: number of the domain.
        severity: severity of the corruption.
        index: index of the sample in its domain.
        visit: number of the visit to a domain, by which figures are reported; in mixed streams
            the domain's number.
        segment: samples of different segments are never in one batch, unless batches are
            contiguous.
        reset_before: whether the method is reset before this sample.
    """

    domains: tuple[str, ...]
    domain: np.ndarray
    severity: np.ndarray
    index: np.ndarray
    visit: np.ndarray
    segment: np.ndarray
    reset_before: np.ndarray

    def __len__(self) -> int:
        return len(self.index)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the table."""
        sha = hashlib.sha256(json.dumps(self.domains).encode())
        columns = (self.domain, self.severity, self.index, self.segment, self.reset_before)
        for column in columns:
            sha.update(np.ascontiguousarray(column, dtype="<i8").data)
        return sha.hexdigest()


@dataclass(frozen=True)
class Scenario:
    """How a stream is put together.

    Attributes:
        description: one line for the user.
        gradual: every domain is visited at severities 1-2-3-4-5-4-3-2-1.
        mixed: all domains are shuffled into one.
        correlated: labels are sorted, or drawn in Dirichlet chunks.
        grouped: images of one class follow each other, classes in random order.
        imbalanced: classes are drawn in Zipf proportions, images with replacement.
        reset: the method is reset before every domain.
        recorded: samples come in the order in which they are stored.
    """

    description: str
    gradual: bool = False
    mixed: bool = False
    correlated: bool = False
    grouped: bool = False
    imbalanced: bool = False
    reset: bool = False
    recorded: bool = False


SCENARIOS = {
    "class_grouped": Scenario("continual, one class after another in random order", grouped=True),
    "class_imbalanced": Scenario("continual, classes in Zipf proportions", imbalanced=True),
    "continual": Scenario("one domain after another, never reset"),
    "correlated": Scenario("continual, labels sorted or in Dirichlet chunks", correlated=True),
    "gradual": Scenario("each domain at severities 1-2-3-4-5-4-3-2-1, never reset", gradual=True),
    "gradual_correlated": Scenario("gradual and correlated", gradual=True, correlated=True),
    "mixed_domains": Scenario("all domains shuffled together", mixed=True),
    "mixed_domains_correlated": Scenario("mixed and correlated", mixed=True, correlated=True),
    "recorded": Scenario("the order in which the samples are stored, never reset", recorded=True),
    "reset_each_shift": Scenario("continual, but reset before every domain", reset=True),
    "reset_each_shift_correlated": Scenario(
        "reset before every domain, and correlated", reset=True, correlated=True
    ),
}

IN_ORDER = ("continual", "recorded")
"""Scenarios that keep the order of a data set that has one of its own."""


@dataclass(frozen=True)
class _Visit:
    domain: int
    severity: int
    index: np.ndarray
    labels: np.ndarray


def plan_stream(name: str, catalog: Catalog, options: ScenarioOptions) -> StreamPlan:
    """Return the index table of scenario ``name`` over a data set.

    Raises:
        UserError: an unknown scenario or domain, or a severity that the data set lacks.
    """
    check_stream(name, catalog, options)
    scenario = SCENARIOS[name]
    if scenario.recorded:
        return _recorded(catalog, options)
    visits = [
        _draw_visit(catalog, options, position, domain, severity)
        for position, (domain, severity) in enumerate(_itinerary(scenario, catalog, options))
    ]
    domains = _chosen_domains(catalog, options)
    if scenario.mixed:
        return _mixed(scenario, domains, visits, options)
    return _sequential(scenario, domains, visits, options)


def check_stream(name: str, catalog: Catalog | None, options: ScenarioOptions) -> None:
    """Check the options of a stream against what is known of the data set.

    Args:
        name: of the scenario.
        catalog: of which no labels are asked; None where nothing is known yet.
        options: of the stream.

    Raises:
        UserError: see :func:`plan_stream`.
    """
    if name not in SCENARIOS:
        raise UserError(f"unknown scenario {name!r}; {did_you_mean(name, SCENARIOS)}")
    if catalog is None:
        return
    if catalog.in_order and name not in IN_ORDER:
        raise UserError(
            f"dataset {catalog.name!r} is a stream in an order of its own; choose --scenario "
            f"{' or '.join(IN_ORDER)}"
        )
    if not SCENARIOS[name].recorded:
        _itinerary(SCENARIOS[name], catalog, options)
    elif options.severity not in (None, catalog.default_severity):
        raise UserError("--severity cannot be chosen with --scenario recorded; leave it out")
    _chosen_domains(catalog, options)


def _chosen_domains(catalog: Catalog, options: ScenarioOptions) -> tuple[str, ...]:
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


def _itinerary(
    scenario: Scenario, catalog: Catalog, options: ScenarioOptions
) -> list[tuple[str, int]]:
    severities: tuple[int, ...] = (_chosen_severity(catalog, options),)
    if scenario.gradual:
        severities = GRADUAL_SEVERITIES
        if not set(severities) <= set(catalog.severities):
            raise UserError(
                f"gradual scenarios need severities 1 to 5, which dataset {catalog.name!r} "
                "lacks; choose another scenario"
            )
    domains = _chosen_domains(catalog, options)
    return [(domain, severity) for domain in domains for severity in severities]


def _chosen_severity(catalog: Catalog, options: ScenarioOptions) -> int:
    if options.severity is None:
        return catalog.default_severity
    if options.severity not in catalog.severities:
        known = ", ".join(map(str, catalog.severities))
        raise UserError(
            f"dataset {catalog.name!r} has no severity {options.severity}; it has: {known}"
        )
    return options.severity


def _draw_visit(
    catalog: Catalog, options: ScenarioOptions, position: int, domain: str, severity: int
) -> _Visit:
    labels = catalog.labels(domain, severity)
    if catalog.in_order:
        index = np.arange(min(len(labels), options.num_samples or len(labels)))
        return _Visit(0, severity, index, labels[index])
    index = _subset(len(labels), options.num_samples)
    key = [options.seed, position, severity, zlib.crc32(domain.encode())]
    index = np.random.default_rng(key).permutation(index)
    number = _chosen_domains(catalog, options).index(domain)
    return _Visit(number, severity, index, labels[index])


def _subset(size: int, num_samples: int | None) -> np.ndarray:
    if num_samples is None or num_samples >= size:
        return np.arange(size)
    return np.sort(np.random.default_rng(size).permutation(size)[:num_samples])


def _sequential(
    scenario: Scenario, domains: tuple[str, ...], visits: list[_Visit], options: ScenarioOptions
) -> StreamPlan:
    visits = [_reorder(scenario, visit, options, n) for n, visit in enumerate(visits)]
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
        reset_before=starts & scenario.reset,
    )


def _reorder(scenario: Scenario, visit: _Visit, options: ScenarioOptions, number: int) -> _Visit:
    rng = np.random.default_rng([options.seed, number, 2])
    if scenario.correlated:
        order = _label_order(visit.labels, options, number)
    elif scenario.grouped:
        order = grouped_order(visit.labels, rng)
    elif scenario.imbalanced:
        order = zipf_sample(visit.labels, options.zipf, rng)
    else:
        return visit
    return _Visit(visit.domain, visit.severity, visit.index[order], visit.labels[order])


def _mixed(
    scenario: Scenario, domains: tuple[str, ...], visits: list[_Visit], options: ScenarioOptions
) -> StreamPlan:
    lengths = [len(visit.index) for visit in visits]
    order = np.random.default_rng([options.seed, len(visits)]).permutation(sum(lengths))
    if scenario.correlated:
        labels = np.concatenate([visit.labels for visit in visits])
        order = order[_label_order(labels[order], options, len(visits))]
    domain = np.repeat([visit.domain for visit in visits], lengths)[order]
    return StreamPlan(
        domains=domains,
        domain=domain,
        severity=np.repeat([visit.severity for visit in visits], lengths)[order],
        index=np.concatenate([visit.index for visit in visits])[order],
        visit=domain,
        segment=np.zeros(len(order), np.int64),
        reset_before=np.zeros(len(order), bool),
    )


def _recorded(catalog: Catalog, options: ScenarioOptions) -> StreamPlan:
    domain, index = catalog.stored_order()
    domains = _chosen_domains(catalog, options)
    numbers = {catalog.domains.index(name): number for number, name in enumerate(domains)}
    keep = np.isin(domain, list(numbers))
    if options.num_samples is not None:
        keep &= index < options.num_samples
    domain, index = np.array([numbers[d] for d in domain[keep]]), index[keep]
    segment = np.cumsum(np.concatenate([[0], domain[1:] != domain[:-1]]))
    return StreamPlan(
        domains=domains,
        domain=domain,
        severity=np.full(len(index), catalog.default_severity),
        index=index,
        visit=domain,
        segment=segment,
        reset_before=np.zeros(len(index), bool),
    )


def _label_order(labels: np.ndarray, options: ScenarioOptions, number: int) -> np.ndarray:
    if options.dirichlet == 0:
        return np.argsort(labels, kind="stable")
    rng = np.random.default_rng([options.seed, number, 1])
    return dirichlet_order(labels, options.dirichlet, rng)
