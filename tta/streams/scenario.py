"""What a scenario is: a pure function from a data set's sizes and labels to a stream's plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tta.foundation.errors import UserError
from tta.streams.itineraries import Itinerary, each_domain
from tta.streams.plan import SCENARIO_OPTIONS, Catalog, ScenarioOptions, StreamPlan

Planner = Callable[[Catalog, ScenarioOptions], StreamPlan]


@dataclass(frozen=True)
class Scenario:
    """An order of a stream, and what is told and checked of it.

    Attributes:
        name: as records have it.
        description: one line for the user.
        plan: the pure function.
        itinerary: which (domain, severity) it visits, known before labels are.
        uses: options, beside the seed, domains and number of samples, that change the stream.
        keeps_order: whether it may stream a data set that has an order of its own.
        task_batches: whether each segment is a task of its own, one batch long at most.
        by_class: whether images are ordered or drawn by their classes.
    """

    name: str
    description: str
    plan: Planner
    itinerary: Itinerary
    uses: frozenset[str]
    keeps_order: bool
    task_batches: bool = False
    by_class: bool = False


def scenario(
    itinerary: Itinerary = each_domain,
    uses: tuple[str, ...] = ("severity",),
    keeps_order: bool = False,
    task_batches: bool = False,
    by_class: bool = False,
) -> Callable[[Planner], Scenario]:
    """Make a function a scenario; its docstring's first line describes it.

    Args:
        itinerary: raises where the data set lacks what the function visits.
        uses: see :class:`Scenario`.
        keeps_order: likewise.
        task_batches: likewise.
        by_class: likewise.
    """

    def declare(plan: Planner) -> Scenario:
        text = (plan.__doc__ or "").strip().partition("\n")[0].removesuffix(".")
        flags = keeps_order, task_batches, by_class
        return Scenario(plan.__name__, text, plan, itinerary, frozenset(uses), *flags)

    return declare


def as_scenario(found: Any) -> Scenario:
    """Return a scenario for what somebody publishes as one: it, or a plain function."""
    if isinstance(found, Scenario):
        return found
    return scenario(uses=SCENARIO_OPTIONS)(found)


def flaw_of_scenario(found: Any) -> str | None:
    """Return why an object is no scenario, or None."""
    whole = isinstance(found, Scenario) or callable(found) and hasattr(found, "__name__")
    return None if whole and not isinstance(found, type) else "is no function"


def checked(plan: Any, name: str, catalog: Catalog) -> StreamPlan:
    """Return a plan that somebody's own function has made, after a look at every row.

    Raises:
        UserError: it is none, or names samples that there are not.
    """
    if not isinstance(plan, StreamPlan):
        raise UserError(
            f"scenario {name!r} returned {type(plan).__name__}; return a tta.streams.StreamPlan"
        )
    columns = ("domain", "severity", "index", "visit", "segment", "reset_before")
    kinds = {column: "b" if column == "reset_before" else "iu" for column in columns}
    for column, kind in kinds.items():
        found = getattr(plan, column)
        if not isinstance(found, np.ndarray) or found.dtype.kind not in kind:
            wanted = "booleans" if kind == "b" else "integers"
            raise UserError(f"scenario {name!r} gave {column} that is no array of {wanted}")
    lengths = {column: np.shape(getattr(plan, column)) for column in columns}
    if len(set(lengths.values())) > 1 or lengths["index"] == (0,):
        shown = ", ".join(f"{column} {shape}" for column, shape in lengths.items())
        raise UserError(f"scenario {name!r} gave columns of shapes {shown}; all need one length")
    for domain, severity in {*zip(plan.domain.tolist(), plan.severity.tolist(), strict=True)}:
        _check_rows(plan, name, catalog, domain, severity)
    return plan


def _check_rows(plan: StreamPlan, name: str, catalog: Catalog, domain: int, severity: int) -> None:
    known = 0 <= domain < len(plan.domains) and plan.domains[domain] in catalog.domains
    if not known or severity not in catalog.severities:
        raise UserError(
            f"scenario {name!r} visits domain {domain} of {plan.domains} at severity {severity}; "
            f"dataset {catalog.name!r} has {', '.join(catalog.domains)} at {catalog.severities}"
        )
    index = plan.index[(plan.domain == domain) & (plan.severity == severity)]
    count = len(catalog.labels(plan.domains[domain], severity))
    if index.min() < 0 or index.max() >= count:
        raise UserError(
            f"scenario {name!r} shows images {index.min()} to {index.max()} of "
            f"{plan.domains[domain]!r}, which has {count}; count them from 0"
        )
