"""The scenarios that have names; most are compositions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tta.foundation.errors import UserError
from tta.foundation.stream_options import CANONICAL
from tta.streams.composing import Composition
from tta.streams.itineraries import chosen_domains
from tta.streams.plan import Catalog, ScenarioOptions, StreamPlan
from tta.streams.scenario import Scenario, scenario

COMPOSED: dict[Composition, str] = {}
"""Names of compositions."""


def composed(
    visits: str = "continual",
    labels: str | None = None,
    reset: bool = False,
    keeps_order: bool = False,
) -> Callable[[Callable[[], None]], Scenario]:
    """Make a composition the scenario that a function names, and its docstring describes.

    Args:
        visits: see :class:`Composition`.
        labels: likewise.
        reset: likewise.
        keeps_order: see :class:`Scenario`.
    """

    def declare(named: Callable[[], None]) -> Scenario:
        composition = Composition(visits, labels, reset)
        COMPOSED[composition] = named.__name__
        text = (named.__doc__ or "").strip().partition("\n")[0].removesuffix(".")
        return composition.scenario(named.__name__, text, keeps_order)

    return declare


@composed(keeps_order=True)
def continual() -> None:
    """One domain after another, never reset."""


@composed(reset=True)
def reset_each_shift() -> None:
    """Continual, but reset before every domain."""


@composed(labels="correlated")
def correlated() -> None:
    """Continual, labels sorted or in Dirichlet chunks."""


@composed(labels="correlated", reset=True)
def reset_each_shift_correlated() -> None:
    """Reset before every domain, and correlated."""


@composed(labels="class_grouped")
def class_grouped() -> None:
    """Continual, one class after another in random order."""


@composed(labels="class_imbalanced")
def class_imbalanced() -> None:
    """Continual, classes in Zipf proportions."""


@composed("domain_blocks")
def domain_blocks() -> None:
    """Blocks of batches of one domain after another at random, all of it again and again (CDC)."""


@composed("gradual")
def gradual() -> None:
    """Each domain at severities 1-2-3-4-5-4-3-2-1, never reset."""


@composed("gradual", "correlated")
def gradual_correlated() -> None:
    """Gradual and correlated."""


@composed(labels="label_shift", reset=True)
def label_shift() -> None:
    """Reset before every domain, the likely class changing all the time (SAR)."""


@composed("mixed_domains")
def mixed_domains() -> None:
    """All domains shuffled together."""


@composed("mixed_domains", "correlated")
def mixed_domains_correlated() -> None:
    """Mixed and correlated."""


@composed("recurring", "slots")
def recurring() -> None:
    """All domains in turn, again and again (PeTTA, CSC), never reset; labels in Dirichlet slots."""


def as_stored(catalog: Catalog, options: ScenarioOptions) -> list[tuple[str, int]]:
    """Visit the domains as they are stored.

    Raises:
        UserError: another severity than the data set's, or an order, is asked for; an unknown
            domain.
    """
    if options.severity not in (None, catalog.default_severity):
        raise UserError("--severity cannot be chosen with --scenario recorded; leave it out")
    if options.order != CANONICAL:
        raise UserError("--order cannot be chosen with --scenario recorded; leave it out")
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
