"""Orders of the labels, by the names that compositions have for them."""

from __future__ import annotations

import numpy as np

from tta.streams.label_order import (
    check_all_of_classes,
    dirichlet_order,
    grouped_order,
    slot_order,
    zipf_sample,
)
from tta.streams.label_shift import sample_of, shifting_labels
from tta.streams.plan import ScenarioOptions
from tta.streams.visits import Order


def by_label(labels: np.ndarray, options: ScenarioOptions, number: int) -> np.ndarray:
    """Order samples by label, or in Dirichlet chunks."""
    if options.dirichlet == 0:
        return np.argsort(labels, kind="stable")
    rng = np.random.default_rng([options.seed, number, 1])
    return dirichlet_order(labels, options.dirichlet, rng)


def by_slot(labels: np.ndarray, options: ScenarioOptions, number: int) -> np.ndarray:
    """Order samples in Dirichlet slots; where there is no concentration, leave them shuffled."""
    if options.dirichlet == 0:
        return np.arange(len(labels))
    return slot_order(labels, options.dirichlet, np.random.default_rng([options.seed, number, 1]))


def by_class(labels: np.ndarray, options: ScenarioOptions, number: int) -> np.ndarray:
    """Order samples class after class, classes in random order."""
    return grouped_order(labels, np.random.default_rng([options.seed, number, 2]))


def by_zipf(labels: np.ndarray, options: ScenarioOptions, number: int) -> np.ndarray:
    """Draw samples in Zipf proportions of the classes, with replacement."""
    check_all_of_classes(labels)
    rng = np.random.default_rng([options.seed, number, 2])
    return zipf_sample(labels, options.zipf, rng)


def by_turns(labels: np.ndarray, options: ScenarioOptions, number: int) -> np.ndarray:
    """Draw samples with replacement, one class more likely than others at each time."""
    check_all_of_classes(labels)
    rng = np.random.default_rng([options.seed, number, 2])
    classes = rng.permutation(np.unique(labels))
    draws = 2 * len(labels) if options.draws is None else options.draws
    return sample_of(labels, shifting_labels(classes, options.imbalance_ratio, draws, rng), rng)


LABELS: dict[str, tuple[Order, tuple[str, ...]]] = {
    "class_grouped": (by_class, ()),
    "class_imbalanced": (by_zipf, ("zipf",)),
    "correlated": (by_label, ("dirichlet",)),
    "label_shift": (by_turns, ("imbalance_ratio", "draws")),
    "slots": (by_slot, ("dirichlet",)),
}
"""Orders of the labels, each with the options that it uses."""
OWN_LABELS = {"recurring": "slots"}
"""The order of the labels where a composition names none; else they are shuffled."""
