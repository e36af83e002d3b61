"""Scenarios as compositions: visits to domains, an order of the labels, resets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tta.foundation.errors import UserError, did_you_mean
from tta.streams.blocks import in_blocks
from tta.streams.itineraries import (
    Itinerary,
    again_and_again,
    chosen_domains,
    each_domain,
    up_and_down,
)
from tta.streams.label_parts import LABELS, OWN_LABELS
from tta.streams.plan import Catalog, ScenarioOptions, StreamPlan
from tta.streams.scenario import Scenario
from tta.streams.sizes import check_samples
from tta.streams.visits import Order, Visit, draw, in_turn, ordered, sizes_of, together

RESET = "reset_each_shift"


@dataclass(frozen=True)
class Visiting:
    """A way to visit domains.

    Attributes:
        itinerary: which (domain, severity) is visited.
        arrange: makes a stream of the domains' names, the visits, the options, an order of the
            labels, or None, and whether the method is reset before each visit.
        uses: see :class:`Scenario`.
        mixes: whether there are no visits that a reset could come before.
    """

    itinerary: Itinerary
    arrange: Callable[
        [tuple[str, ...], Sequence[Visit], ScenarioOptions, Order | None, bool], StreamPlan
    ]
    uses: tuple[str, ...] = ("severity",)
    mixes: bool = False


def _turn_by_turn(
    domains: tuple[str, ...],
    visits: Sequence[Visit],
    options: ScenarioOptions,
    order: Order | None,
    reset: bool,
) -> StreamPlan:
    return in_turn(domains, ordered(visits, options, order) if order else visits, reset)


def _shuffled(
    domains: tuple[str, ...],
    visits: Sequence[Visit],
    options: ScenarioOptions,
    order: Order | None,
    reset: bool,
) -> StreamPlan:
    return together(domains, visits, options, order)


VISITS = {
    "continual": Visiting(each_domain, _turn_by_turn),
    "gradual": Visiting(up_and_down, _turn_by_turn, uses=()),
    "domain_blocks": Visiting(again_and_again, in_blocks, uses=("severity", "visits")),
    "mixed_domains": Visiting(each_domain, _shuffled, mixes=True),
    "recurring": Visiting(again_and_again, _turn_by_turn, uses=("severity", "visits")),
}
"""Ways to visit domains; the first where a composition names none."""
PARTS = (*VISITS, *LABELS, RESET)


@dataclass(frozen=True)
class Composition:
    """What a scenario is composed of.

    Attributes:
        visits: of :data:`VISITS`.
        labels: of :data:`LABELS`, or None for shuffled ones.
        reset: whether the method is reset before every visit.
    """

    visits: str = "continual"
    labels: str | None = None
    reset: bool = False

    @property
    def name(self) -> str:
        """Its parts, joined; without an order of the labels that goes without saying."""
        labels = None if self.labels == OWN_LABELS.get(self.visits) else self.labels
        return "+".join(filter(None, (self.visits, labels, RESET if self.reset else "")))

    def itinerary(self, catalog: Catalog, options: ScenarioOptions) -> list[tuple[str, int]]:
        """Return which (domain, severity) is visited.

        Raises:
            UserError: the data set lacks it, or there are too many draws; slots that were asked
                for have no concentration, and would leave labels shuffled.
        """
        if self.labels == "slots" and "slots" in self.name and options.dirichlet == 0:
            raise UserError(
                f"scenario {self.name!r} needs --dirichlet above 0: at 0, slots leave labels "
                "shuffled, as the scenario without them does; pass it, or leave slots out"
            )
        places = VISITS[self.visits].itinerary(catalog, options)
        if self.labels == "label_shift":
            times = 1 if VISITS[self.visits].mixes else len(places)
            check_samples(times * (options.draws or 0), "fewer --draws or --domains")
        return places

    def plan(self, catalog: Catalog, options: ScenarioOptions) -> StreamPlan:
        """Return the stream."""
        visiting = VISITS[self.visits]
        visits = draw(catalog, options, self.itinerary)
        order = LABELS[self.labels][0] if self.labels else None
        domains = chosen_domains(catalog, options)
        return visiting.arrange(domains, visits, options, order, self.reset)

    def defaults(self, catalog: Catalog, options: ScenarioOptions) -> dict[str, float]:
        """Return what options that are given here are where they are not, as far as it is one."""
        if self.labels != "label_shift" or options.draws is None:
            return {}
        places = dict.fromkeys(VISITS[self.visits].itinerary(catalog, options))
        sizes = sizes_of(catalog, options, list(places))
        if VISITS[self.visits].mixes:
            sizes = [sum(sizes)]
        return {"draws": 2 * sizes[0]} if len({*sizes}) == 1 else {}

    def scenario(self, name: str, description: str, keeps_order: bool = False) -> Scenario:
        """Return it as a scenario of that name."""
        visiting = VISITS[self.visits]
        uses = {*visiting.uses, *(LABELS[self.labels][1] if self.labels else ())}
        by_class = self.labels not in (None, "slots")  # which leave labels alone at dirichlet 0
        return Scenario(
            name,
            description,
            self.plan,
            self.itinerary,
            frozenset(uses),
            keeps_order,
            by_class=by_class,
        )


def composition_of(text: str) -> Composition:
    """Return what parts that are joined by ``+``, in any order, are a composition of.

    Raises:
        UserError: a part is unknown, there are two of a kind, or they do not fit.
    """
    parts = [part.strip() for part in text.split("+")]
    for part in parts:
        if part not in PARTS:
            raise UserError(
                f"scenario {text!r} has an unknown part {part!r}; {did_you_mean(part, PARTS)}"
            )
    for kind in (tuple(VISITS), tuple(LABELS), (RESET,)):
        named = [part for part in parts if part in kind]
        if len(named) > 1:
            raise UserError(
                f"scenario {text!r} names {' and '.join(named)}; name one of {', '.join(kind)}"
            )
    visits = next((part for part in parts if part in VISITS), Composition.visits)
    labels = next((part for part in parts if part in LABELS), OWN_LABELS.get(visits))
    reset = RESET in parts
    if reset and VISITS[visits].mixes:
        raise UserError(f"scenario {text!r}: {visits} has no shifts to reset at; leave out {RESET}")
    return Composition(visits, labels, reset)
