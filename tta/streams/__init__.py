"""Which sample comes when: scenarios by name, by entry point and by file; batches; the only loop.

A plan is a pure function of the data set's sizes and labels, the options and the seed. Every
method that runs with the same options sees the same stream, and the digest proves it. An order of
one's own is a function with that signature::

    def backwards(catalog, options):
        \"\"\"The domains from last to first.\"\"\"
        visits = draw(catalog, options, each_domain)
        return in_turn(chosen_domains(catalog, options), visits[::-1])
"""

from __future__ import annotations

from typing import Any

from tta.foundation.errors import UserError
from tta.foundation.own_file import faults_of, split_own
from tta.foundation.registry import Registry
from tta.streams import unitta
from tta.streams.composing import composition_of
from tta.streams.itineraries import again_and_again, chosen_domains, each_domain, up_and_down
from tta.streams.plan import SCENARIO_OPTIONS, Catalog, ScenarioOptions, StreamPlan
from tta.streams.scenario import Scenario, as_scenario, checked, flaw_of_scenario, scenario
from tta.streams.scenarios import COMPOSED
from tta.streams.visits import Visit, draw, in_turn, ordered, together

__all__ = [
    "SCENARIOS",
    "SCENARIO_OPTIONS",
    "Catalog",
    "Scenario",
    "ScenarioOptions",
    "StreamPlan",
    "Visit",
    "again_and_again",
    "check_name",
    "check_stream",
    "chosen_domains",
    "defaults_of",
    "draw",
    "each_domain",
    "find_scenario",
    "in_turn",
    "one_name",
    "ordered",
    "plan_stream",
    "scenario",
    "together",
    "up_and_down",
]

NAMES = (
    "class_grouped",
    "class_imbalanced",
    "continual",
    "correlated",
    "domain_blocks",
    "few_classes_per_batch",
    "gradual",
    "gradual_correlated",
    "label_shift",
    "markov",
    "mixed_domains",
    "mixed_domains_correlated",
    "recorded",
    "recurring",
    "reset_each_shift",
    "reset_each_shift_correlated",
    "translations",
)

HOMES = {
    "few_classes_per_batch": "few_classes",
    "markov": "unitta",
    "translations": "translations",
}
"""Modules of those that are no compositions."""

SCENARIOS: Registry[Any] = Registry(
    "scenario",
    {name: f"tta.streams.{HOMES.get(name, 'scenarios')}:{name}" for name in NAMES},
    entry_point_group="tta.scenarios",
    wanted="function",
    flaw=flaw_of_scenario,
)


def find_scenario(name: str) -> Scenario:
    """Return the scenario that ``name`` stands for.

    Args:
        name: a registered name; parts of :mod:`tta.streams.composing` joined by ``+``, such as
            ``gradual+class_grouped``; or ``path/to/file.py:function`` for one of one's own.

    Raises:
        UserError: there is no such name, part, file or function, or the file cannot be imported.
    """
    if not _is_composed(name):
        return as_scenario(SCENARIOS.find(name))
    composition = composition_of(name)
    if composition in COMPOSED:
        return SCENARIOS[COMPOSED[composition]]
    return composition.scenario(composition.name, f"Composed: {composition.name}")


def defaults_of(name: str, catalog: Catalog, options: ScenarioOptions) -> dict[str, float]:
    """Return what options of a built-in scenario that are given are where they are left open.

    Those that have no single value then are not among them.
    """
    if name == "markov":
        return unitta.defaults(catalog, options)
    named = {other: composition for composition, other in COMPOSED.items()}
    composition = composition_of(name) if _is_composed(name) else named.get(name)
    return composition.defaults(catalog, options) if composition else {}


def one_name(name: str) -> str:
    """Return the name that records have of a scenario, in whatever order its parts are joined.

    That of a file of one's own is left as it is.

    Raises:
        UserError: see :func:`find_scenario`.
    """
    return find_scenario(name).name if _is_composed(name) else name


def _is_composed(name: str) -> bool:
    return "+" in name and name not in SCENARIOS and split_own(name) is None


def check_name(name: str) -> None:
    """Refuse the name of a scenario that stands for nothing; no file of one's own is run.

    Raises:
        UserError: see :func:`find_scenario`.
    """
    if _is_composed(name):
        composition_of(name)
    else:
        SCENARIOS.check(name)


def plan_stream(name: str, catalog: Catalog, options: ScenarioOptions) -> StreamPlan:
    """Return the index table of scenario ``name`` over a data set.

    Raises:
        UserError: an unknown scenario or domain, or a severity that the data set lacks.
    """
    check_stream(name, catalog, options)
    found = find_scenario(name)
    if SCENARIOS.location(name) or _is_composed(name):
        return found.plan(catalog, options)
    with faults_of(f"scenario {found.name!r}", found.plan):
        plan = found.plan(catalog, options)
    return checked(plan, found.name, catalog)


def check_stream(name: str, catalog: Catalog | None, options: ScenarioOptions) -> None:
    """Check the options of a stream against what is known of the data set.

    Args:
        name: of the scenario.
        catalog: of which no labels are asked; None where nothing is known yet.
        options: of the stream.

    Raises:
        UserError: see :func:`plan_stream`.
    """
    check_name(name)
    if catalog is None:
        return
    found = find_scenario(name)
    if catalog.in_order and not found.keeps_order:
        keeping = " or ".join(name for name in NAMES if SCENARIOS[name].keeps_order)
        raise UserError(
            f"dataset {catalog.name!r} is a stream in an order of its own; choose --scenario "
            f"{keeping}"
        )
    with faults_of(f"scenario {found.name!r}", found.itinerary):
        found.itinerary(catalog, options)
