"""Images to adapt to and images to be judged by are never the same."""

from __future__ import annotations

import numpy as np
import pytest

from tests.fakes import NUM_CLASSES, RandomImages
from tta.foundation.errors import UserError
from tta.streams import ScenarioOptions, plan_stream
from tta.streams.adaptation_set import held_out_figures, hold_out, seen_classes
from tta.streams.stream import batch_edges, labels_of

DATA = RandomImages(size=50)


def parted(scenario="continual", samples=8, classes=None, seed=1):
    plan = plan_stream(scenario, DATA, ScenarioOptions(seed=seed))
    return hold_out(plan, labels_of(DATA, plan), np.full(len(plan), 50), seed, samples, classes)


@pytest.mark.parametrize("scenario", ["continual", "reset_each_shift", "gradual", "mixed_domains"])
def test_no_image_is_on_both_sides_in_any_domain(scenario):
    plan = parted(scenario)
    assert not set(plan.index[plan.adaptation]) & set(plan.index[plan.counted])
    visits = 1 if scenario == "mixed_domains" else len(np.unique(plan.visit))
    assert plan.adaptation.sum() == 8 * visits
    assert plan.counted.sum() == 25 * len(np.unique(plan_stream_visits(scenario)))


def plan_stream_visits(scenario):
    plan = plan_stream(scenario, DATA, ScenarioOptions())
    return plan.visit


def test_batches_are_of_one_side():
    plan = parted(samples=10)
    edges = batch_edges(plan, 4, contiguous=False)
    for start, stop in zip(edges[:-1], edges[1:], strict=True):
        assert len(set(plan.adaptation[start:stop])) == 1
    assert plan.adaptation[0] and not plan.adaptation[-1]


def test_resets_stay_before_the_domain():
    plan = parted("reset_each_shift")
    assert plan.reset_before.nonzero()[0].tolist() == [0, 33, 66]


def test_a_plan_knows_its_adaptation_set():
    plan = plan_stream("continual", DATA, ScenarioOptions())
    other = parted()
    assert plan.digest != other.digest
    assert plan.counted.all()
    assert parted(samples=9).digest != other.digest == parted().digest
    assert parted(seed=2).digest != other.digest


def test_classes_are_so_many_or_these():
    labels = np.array([3, 1, 4, 1, 5, -1])
    assert seen_classes(labels, 1, (1, 5)).tolist() == [1, 5]
    drawn = [tuple(seen_classes(labels, seed, 2)) for seed in range(20)]
    assert all(len(found) == 2 and set(found) <= {1, 3, 4, 5} for found in drawn)
    assert len(set(drawn)) > 2
    with pytest.raises(UserError, match="more than the 4 classes"):
        seen_classes(labels, 1, 5)
    with pytest.raises(UserError, match="names class 2"):
        seen_classes(labels, 1, (1, 2))
    with pytest.raises(UserError, match="no image of it is of a known class"):
        seen_classes(np.full(4, -1), 1, (0,))
    plan = parted(samples=None, classes=(0, 2))
    assert set(labels_of(DATA, plan)[plan.adaptation]) == {0, 2}
    assert set(labels_of(DATA, plan)[plan.counted]) == set(range(NUM_CLASSES))


def test_too_little_is_refused():
    plan = plan_stream("continual", DATA, ScenarioOptions(num_samples=1))
    with pytest.raises(UserError, match="images leaves .* to adapt to"):
        hold_out(plan, labels_of(DATA, plan), np.full(len(plan), 50), 1, 4, None)


def test_figures_of_seen_and_unseen_classes():
    plan = parted(samples=None, classes=(0, 2))
    labels = labels_of(DATA, plan)
    correct = np.isin(labels, (0, 1)).astype(np.float32)
    figures = held_out_figures(plan, labels, correct)
    test = labels[plan.counted]
    assert figures["seen_accuracy"] == pytest.approx(
        (test == 0).sum() / np.isin(test, (0, 2)).sum()
    )
    assert figures["unseen_accuracy"] == pytest.approx(
        (test == 1).sum() / (~np.isin(test, (0, 2))).sum()
    )
    assert (figures["seen_classes"], figures["unseen_classes"]) == (2, NUM_CLASSES - 2)
    assert figures["adapted_images"] == plan.adaptation.sum()


@pytest.mark.parametrize("scenario", ["continual", "reset_each_shift"])
def test_a_class_is_seen_from_its_first_image_to_the_next_reset(scenario):
    plan = parted(scenario, samples=2)
    labels = labels_of(DATA, plan)
    figures = held_out_figures(plan, labels, np.zeros(len(plan), np.float32))
    seen, known = 0, set()
    right = np.zeros(len(plan), np.float32)
    for row, label in enumerate(labels):
        known = set() if plan.reset_before[row] else known
        if plan.adaptation[row]:
            known.add(label)
        elif label in known:
            right[row] = 1
            seen += 1
    figures = held_out_figures(plan, labels, right)
    assert 0 < seen < plan.counted.sum()
    assert (figures["seen_accuracy"], figures["unseen_accuracy"]) == (1.0, 0.0)


@pytest.mark.parametrize("classes", [None, 2, (0, 2)])
def test_unknown_images_are_adapted_to_whatever_the_classes(classes):
    plan = plan_stream("continual", DATA, ScenarioOptions())
    labels = labels_of(DATA, plan).copy()
    labels[plan.index % 7 == 0] = -1  # 8 of 50 in each domain
    made = hold_out(plan, labels, np.full(len(plan), 50), 1, None, classes)
    unknown = made.index % 7 == 0
    there = set(range(0, 50, 7))
    for domain in range(3):
        rows = made.domain == domain
        adapted = set(made.index[rows & unknown & made.adaptation].tolist())
        judged = set(made.index[rows & unknown & made.counted].tolist())
        assert adapted and adapted | judged == there and not adapted & judged
