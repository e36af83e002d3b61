"""Which domain comes when, and at which severity: known before labels are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tta.foundation.errors import UserError, did_you_mean
from tta.foundation.stream_options import CANONICAL, ORDERS, order_seed
from tta.streams.plan import Catalog, ScenarioOptions
from tta.streams.sizes import check_visits

GRADUAL_SEVERITIES = (1, 2, 3, 4, 5, 4, 3, 2, 1)

Itinerary = Callable[[Catalog, ScenarioOptions], list[tuple[str, int]]]
"""Gives the (domain, severity) of every visit, in order, without asking for labels."""


def chosen_domains(catalog: Catalog, options: ScenarioOptions) -> tuple[str, ...]:
    """Return the domains of the stream, in its order.

    Raises:
        UserError: one is unknown, named twice, or has no place in the order.
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
    return _in_order(chosen, options.order, options.seed)


def _in_order(domains: tuple[str, ...], order: str, seed: int) -> tuple[str, ...]:
    if order == CANONICAL:
        return domains
    if order in ORDERS:
        published = ORDERS[order]
        if unknown := [domain for domain in domains if domain not in published]:
            raise UserError(
                f"--order {order} has no place for {', '.join(unknown)}; it is an order of: "
                f"{', '.join(published)}; leave domains out with --domains, or choose random:SEED"
            )
        return tuple(sorted(domains, key=published.index))
    rows = np.random.default_rng(order_seed(order, seed)).permutation(len(domains))
    return tuple(domains[row] for row in rows)


def each_domain(catalog: Catalog, options: ScenarioOptions) -> list[tuple[str, int]]:
    """Visit every domain once, at the chosen severity.

    Raises:
        UserError: the data set lacks the domain or severity.
    """
    severity = _chosen_severity(catalog, options)
    return [(domain, severity) for domain in chosen_domains(catalog, options)]


def again_and_again(catalog: Catalog, options: ScenarioOptions) -> list[tuple[str, int]]:
    """Visit every domain in turn, and all of them ``visits`` times.

    Raises:
        UserError: see :func:`each_domain`; or there are too many visits.
    """
    once = each_domain(catalog, options)
    check_visits(len(once) * options.visits, "fewer --visits or --domains")
    return once * options.visits


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
