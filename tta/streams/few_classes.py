"""Batches of few classes, each a task of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from tta.foundation.errors import UserError
from tta.streams.itineraries import chosen_domains, each_domain
from tta.streams.label_order import check_all_of_classes
from tta.streams.plan import Catalog, ScenarioOptions, StreamPlan
from tta.streams.scenario import scenario
from tta.streams.sizes import check_samples, check_visits
from tta.streams.visits import Visit, draw, in_turn


def draw_task(
    members: Mapping[int, np.ndarray], classes: int, batch_size: int, rng: np.random.Generator
) -> np.ndarray:
    """Return the positions ``[B]`` of one batch of so many classes.

    The classes are drawn, their images pooled, ``batch_size`` of these drawn without replacement,
    all where there are no more, and shuffled. StatA (Zanella et al., CVPR 2025).

    Args:
        members: positions of the images of each class.
        classes: how many are shown.
        batch_size: of the batch.
        rng: source of the draws.
    """
    shown = list(members)
    if classes < len(shown):
        shown = rng.choice(shown, classes, replace=False).tolist()
    pool = np.concatenate([members[label] for label in shown])
    if len(pool) >= batch_size:
        pool = rng.choice(pool, batch_size, replace=False)
    rng.shuffle(pool)
    return pool


def in_tasks(catalog: Catalog, options: ScenarioOptions) -> list[tuple[str, int]]:
    """Visit every domain once, at the chosen severity.

    Raises:
        UserError: the data set lacks the domain or severity, or there are too many tasks.
    """
    places = each_domain(catalog, options)
    check_visits(len(places) * options.tasks, "fewer --tasks or --domains")
    return places


@scenario(
    in_tasks, uses=("severity", "classes_per_batch", "tasks"), task_batches=True, by_class=True
)
def few_classes_per_batch(catalog: Catalog, options: ScenarioOptions) -> StreamPlan:
    """Batches of few classes, reset before each (StatA)."""
    visits = draw(catalog, options, in_tasks)
    shown = sum(min(options.batch_size, len(visit.index)) for visit in visits)
    check_samples(options.tasks * shown, "fewer --tasks or --domains")
    tasks = [
        Visit(visit.domain, visit.severity, visit.index[rows], visit.labels[rows])
        for number, visit in enumerate(visits)
        for rows in _tasks(visit, options, number)
    ]
    plan = in_turn(chosen_domains(catalog, options), tasks, reset=True)
    return dataclasses.replace(plan, visit=plan.domain)


def _tasks(visit: Visit, options: ScenarioOptions, number: int) -> list[np.ndarray]:
    check_all_of_classes(visit.labels)
    least, most = options.classes_per_batch
    members = {int(label): np.flatnonzero(visit.labels == label) for label in set(visit.labels)}
    members = dict(sorted(members.items()))
    if most > len(members):
        raise UserError(
            f"--classes-per-batch {least},{most} asks for more classes than the {len(members)} of "
            "a domain; ask for fewer, or use more --num-samples"
        )
    rng = np.random.default_rng([options.seed, number, 4])
    counts = rng.integers(least, most + 1, options.tasks)
    return [draw_task(members, int(count), options.batch_size, rng) for count in counts]
