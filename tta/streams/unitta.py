"""The stream of UniTTA, whose domains and classes are a Markov chain, and its named settings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tta.foundation.stream_options import even_stays, markov_settings
from tta.streams.itineraries import chosen_domains, each_domain
from tta.streams.label_order import check_all_of_classes
from tta.streams.markov import Attribute, RandomSuccessor, bounds, images_in_turn, walk
from tta.streams.plan import Catalog, ScenarioOptions, StreamPlan
from tta.streams.scenario import scenario
from tta.streams.sizes import check_samples
from tta.streams.visits import Visit, draw

USES = (
    "severity",
    "markov",
    "class_stay",
    "class_ratio",
    "domain_stay",
    "domain_ratio",
    "most_per_state",
)


def attributes(options: ScenarioOptions, domains: int, classes: int) -> list[Attribute]:
    """Return the chain of the domains and that of the classes.

    Args:
        options: with the name of a setting, and what is put in place of its numbers.
        domains: how many there are.
        classes: likewise.
    """
    named = markov_settings(options.markov, domains, classes)
    chosen = {name: getattr(options, name) for name in named}
    found = {name: named[name] if chosen[name] is None else chosen[name] for name in named}
    return [
        Attribute(domains, found["domain_stay"], found["domain_ratio"]),
        Attribute(classes, found["class_stay"], found["class_ratio"]),
    ]


@scenario(uses=USES, by_class=True)
def markov(catalog: Catalog, options: ScenarioOptions) -> StreamPlan:
    """Domains and classes follow each other as in a Markov chain, never reset (UniTTA)."""
    visits = draw(catalog, options, each_domain)
    shown = np.concatenate([visit.labels for visit in visits])
    check_all_of_classes(shown)
    labels = np.unique(shown)
    images = [visit.index[visit.labels == label] for visit in visits for label in labels]
    domains, classes = attributes(options, len(visits), len(labels))
    most = options.most_per_state or images_per_state(visits, len(labels))
    check_samples(bounds(domains, classes, most).sum(), "a smaller --most-per-state")
    rng = np.random.default_rng([options.seed, len(visits), 5])
    states = walk(
        domains,
        classes,
        most,
        RandomSuccessor(domains, classes, rng),
        np.array([len(one) > 0 for one in images]),
    )
    domain = states // len(labels)
    return StreamPlan(
        domains=chosen_domains(catalog, options),
        domain=domain,
        severity=np.full(len(states), visits[0].severity),
        index=images_in_turn(states, images),
        visit=domain,
        segment=np.zeros(len(states), np.int64),
        reset_before=np.zeros(len(states), bool),
    )


def images_per_state(visits: Sequence[Visit], classes: int) -> int:
    """Return as many images as a domain has of a class."""
    return max(1, max(len(visit.index) for visit in visits) // classes)


def doubts(plan: StreamPlan, batch_size: int) -> tuple[str, ...]:
    """Return why figures of a walk hang on its seed: it shows less than a batch per domain."""
    if len(plan) >= batch_size * len(plan.domains):
        return ()
    met = len(np.unique(plan.domain))
    return (
        f"the Markov stream is short: {len(plan)} images of {met} of {len(plan.domains)} domains, "
        f"less than a batch of {batch_size} for each; its figures hang on the seed; pass a larger "
        "--most-per-state",
    )


def defaults(catalog: Catalog, options: ScenarioOptions) -> dict[str, float]:
    """Return what options that are given here are where they are not."""
    if (options.most_per_state, options.class_stay, options.domain_stay) == (None, None, None):
        return {}
    visits = draw(catalog, options, each_domain)
    classes = len(np.unique(np.concatenate([visit.labels for visit in visits])))
    return {
        "most_per_state": images_per_state(visits, classes),
        **even_stays(len(visits), classes),
    }
