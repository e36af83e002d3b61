"""The scenarios, each a composition of visits, an order within them, and resets."""

from __future__ import annotations

import numpy as np

from tta.foundation.errors import UserError
from tta.streams.label_order import dirichlet_order, grouped_order, zipf_sample
from tta.streams.plan import Catalog, ScenarioOptions, StreamPlan
from tta.streams.scenario import scenario
from tta.streams.visits import (
    chosen_domains,
    draw,
    each_domain,
    in_turn,
    ordered,
    together,
    up_and_down,
)

CORRELATED = ("severity", "dirichlet")


def by_label(labels: np.ndarray, options: ScenarioOptions, number: int) -> np.ndarray:
    """Order samples by label, or in Dirichlet chunks."""
    if options.dirichlet == 0:
        return np.argsort(labels, kind="stable")
    rng = np.random.default_rng([options.seed, number, 1])
    return dirichlet_order(labels, options.dirichlet, rng)


def by_class(labels: np.ndarray, options: ScenarioOptions, number: int) -> np.ndarray:
    """Order samples class after class, classes in random order."""
    return grouped_order(labels, np.random.default_rng([options.seed, number, 2]))


def by_zipf(labels: np.ndarray, options: ScenarioOptions, number: int) -> np.ndarray:
    """Draw samples in Zipf proportions of the classes, with replacement."""
    rng = np.random.default_rng([options.seed, number, 2])
    return zipf_sample(labels, options.zipf, rng)


@scenario(keeps_order=True)
def continual(catalog: Catalog, options: ScenarioOptions) -> StreamPlan:
    """One domain after another, never reset."""
    return in_turn(chosen_domains(catalog, options), draw(catalog, options, each_domain))


@scenario()
def reset_each_shift(catalog: Catalog, options: ScenarioOptions) -> StreamPlan:
    """Continual, but reset before every domain."""
    visits = draw(catalog, options, each_domain)
    return in_turn(chosen_domains(catalog, options), visits, reset=True)


@scenario(uses=CORRELATED)
def correlated(catalog: Catalog, options: ScenarioOptions) -> StreamPlan:
    """Continual, labels sorted or in Dirichlet chunks."""
    visits = ordered(draw(catalog, options, each_domain), options, by_label)
    return in_turn(chosen_domains(catalog, options), visits)


@scenario(uses=CORRELATED)
def reset_each_shift_correlated(catalog: Catalog, options: ScenarioOptions) -> StreamPlan:
    """Reset before every domain, and correlated."""
    visits = ordered(draw(catalog, options, each_domain), options, by_label)
    return in_turn(chosen_domains(catalog, options), visits, reset=True)


@scenario()
def class_grouped(catalog: Catalog, options: ScenarioOptions) -> StreamPlan:
    """Continual, one class after another in random order."""
    visits = ordered(draw(catalog, options, each_domain), options, by_class)
    return in_turn(chosen_domains(catalog, options), visits)


@scenario(uses=("severity", "zipf"))
def class_imbalanced(catalog: Catalog, options: ScenarioOptions) -> StreamPlan:
    """Continual, classes in Zipf proportions."""
    visits = ordered(draw(catalog, options, each_domain), options, by_zipf)
    return in_turn(chosen_domains(catalog, options), visits)


@scenario(up_and_down, uses=())
def gradual(catalog: Catalog, options: ScenarioOptions) -> StreamPlan:
    """Each domain at severities 1-2-3-4-5-4-3-2-1, never reset."""
    return in_turn(chosen_domains(catalog, options), draw(catalog, options, up_and_down))


@scenario(up_and_down, uses=("dirichlet",))
def gradual_correlated(catalog: Catalog, options: ScenarioOptions) -> StreamPlan:
    """Gradual and correlated."""
    visits = ordered(draw(catalog, options, up_and_down), options, by_label)
    return in_turn(chosen_domains(catalog, options), visits)


@scenario()
def mixed_domains(catalog: Catalog, options: ScenarioOptions) -> StreamPlan:
    """All domains shuffled together."""
    visits = draw(catalog, options, each_domain)
    return together(chosen_domains(catalog, options), visits, options)


@scenario(uses=CORRELATED)
def mixed_domains_correlated(catalog: Catalog, options: ScenarioOptions) -> StreamPlan:
    """Mixed and correlated."""
    visits = draw(catalog, options, each_domain)
    return together(chosen_domains(catalog, options), visits, options, by_label)


def as_stored(catalog: Catalog, options: ScenarioOptions) -> list[tuple[str, int]]:
    """Visit the domains as they are stored.

    Raises:
        UserError: another severity than the data set's is asked for; an unknown domain.
    """
    if options.severity not in (None, catalog.default_severity):
        raise UserError("--severity cannot be chosen with --scenario recorded; leave it out")
    return [(domain, catalog.default_severity) for domain in chosen_domains(catalog, options)]


@scenario(as_stored, uses=(), keeps_order=True)
def recorded(catalog: Catalog, options: ScenarioOptions) -> StreamPlan:
    """The order in which the samples are stored, never reset."""
    domain, index = catalog.stored_order()
    domains = chosen_domains(catalog, options)
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
