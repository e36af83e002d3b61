"""Which batches are adapted to, what that costs, and that a pause changes nothing."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.fakes import NUM_CLASSES, make_backbone, make_images
from tta.backbones.passes import Passes
from tta.methods.base import Method
from tta.methods.tent import Tent
from tta.streams.pacing import costs
from tta.streams.pacing.costs import CountedCost, GivenCost, MeasuredCost
from tta.streams.pacing.paced import Paced
from tta.streams.pacing.paces import Periodic, Planned, Rate, StreamRate
from tta.streams.pacing.pool import Pool


def schedule(pace, batches=14, cost=1.0):
    letters = ""
    for _ in range(batches):
        adapts = pace.adapts()
        letters += "A" if adapts else "p"
        if adapts:
            pace.spent(cost)
    return letters


@pytest.mark.parametrize(
    ("cost", "rate", "expected"),
    [
        (1, 1, "AAAAAAAAAAAAAA"),
        (3, 1, "AppAppAppAppAp"),
        (2.4, 1, "AppAppAppAppAp"),
        (3, 0.5, "ApApApApApApAp"),
        (3, 1 / 3, "AAAAAAAAAAAAAA"),
        (5, 1, "AppppAppppAppp"),
        (12, 1, "ApppppppppppAp"),
        (810, 0, "AAAAAAAAAAAAAA"),
    ],
)
def test_a_slow_method_misses_batches(cost, rate, expected):
    assert schedule(StreamRate(rate), cost=cost) == expected


def test_a_measured_cost_may_be_off_by_its_tolerance():
    assert schedule(StreamRate(1, 0.1), 6, 1.09) == "AAAAAA"
    assert schedule(StreamRate(1, 0.1), 6, 1.11) == "ApApAp"


@pytest.mark.parametrize(
    ("pace", "expected"),
    [
        (Rate(0.3), "pppAppAppA"),
        (Rate(0.5), "pApApApApA"),
        (Rate(1.0), "AAAAAAAAAA"),
        (Rate(0.3, first=True), "AppAppAppp"),
        (Rate(0.1, first=True), "Appppppppp"),
        (Periodic(4, 2), "AAppAAppAA"),
        (Periodic(1), "AAAAAAAAAA"),
        (Planned(np.array([True, False, False, True, *[False] * 6])), "AppApppppp"),
    ],
)
def test_a_share_of_the_batches(pace, expected):
    assert schedule(pace, 10) == expected


def test_a_reset_pays_the_debt_but_no_other_pace_begins_anew():
    pace = StreamRate(1)
    assert schedule(pace, 2, 5) == "Ap"
    pace.reset()
    assert schedule(pace, 2, 5) == "Ap"
    for other in (Planned(np.array([False, False, True])), Rate(0.34), Periodic(3)):
        letters = ""
        for _ in range(3):
            letters += schedule(other, 1)
            other.reset()
        assert letters == ("App" if isinstance(other, Periodic) else "ppA")


class Busy(Method):
    """Goes forward three times and backward once."""

    name = "busy"

    def step(self, images):
        with torch.enable_grad():
            self.backbone.features(images.requires_grad_()).sum().backward()
        self.backbone(images)
        return self.backbone(images).detach()


def test_counted_cost_takes_a_backward_pass_for_two():
    method = Busy(make_backbone("batch_norm"))
    method.backbone.passes.note(torch.zeros(7, 2))  # of another batch, not yet fetched
    outputs, cost = CountedCost(method.backbone.passes).step(method, make_images(4, 0))
    assert outputs.shape == (4, NUM_CLASSES)
    assert cost == 5.0


def test_measured_cost_is_a_ratio_of_medians_and_leaves_no_trace(monkeypatch):
    method = Tent(make_backbone("batch_norm"))
    method.start()
    before = method.state_dict()
    passes = method.backbone.passes
    passes.take()  # copies of one model share their counter
    now = iter(np.cumsum([0, *[gap for seconds in SECONDS for gap in (seconds, 100)]]).tolist())
    monkeypatch.setattr(costs, "time", SimpleNamespace(perf_counter=lambda: next(now)))
    plain = Tent(make_backbone("batch_norm")).backbone
    plain.passes = Passes()
    cost = MeasuredCost(torch.no_grad()(plain), passes, torch.device("cpu"))
    steps = []
    for _ in range(2):
        method.load_state_dict(before)
        steps.append(cost.step(method, make_images(4, 0)))
    # A step of 99 warms up; ratios are then 3, 4, 5, and 2, 10.
    assert [found for _, found in steps] == [3.5, 4.0]
    assert torch.equal(steps[0][0], steps[1][0])
    assert (passes.forward, passes.backward) == (8, 8)


SECONDS = [99, 2, 6, 2, 8, 2, 10, 2, 4, 2, 20, 2]
"""Of a step and of a plain pass, in turn."""


def test_what_is_drawn_from_a_pool_is_even_in_predicted_classes():
    pool = Pool()
    images = torch.arange(12.0)[:, None]
    classes = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 0])
    for part in range(0, 12, 4):
        rows = slice(part, part + 4)
        pool.add(images[rows], torch.nn.functional.one_hot(classes[rows], 3).float())
    drawn = pool.draw(8, torch.Generator().manual_seed(0))[:, 0].long()
    assert len(set(drawn.tolist())) == 8
    assert torch.bincount(classes[drawn]).tolist() == [3, 3, 2]
    assert pool.images == []


def make_paced(**options):
    made = Paced(Tent(make_backbone("batch_norm")), Rate(0.5), GivenCost(3.0), **options)
    made.start()
    return made


@pytest.mark.parametrize("options", [{}, {"pooled": True}, {"single_model": True}])
def test_reset_and_round_trip(options):
    paced = make_paced(**options)
    images = [make_images(4, seed) for seed in range(6)]
    first = [paced.step(image) for image in images[:3]]
    saved = paced.state_dict()
    rest = [paced.step(image) for image in images[3:]]
    facts = paced.facts()
    paced.load_state_dict(saved)
    assert all(map(torch.equal, rest, [paced.step(image) for image in images[3:]]))
    assert paced.facts() == facts == {"batches": 6, "adapted_batches": 3, "cost": 3.0}
    if not options:
        paced.reset()
        assert all(map(torch.equal, first, [paced.step(image) for image in images[:3]]))


def test_a_missed_batch_is_predicted_as_the_method_stands():
    paced, plain = make_paced(), Tent(make_backbone("batch_norm"))
    images = [make_images(4, seed) for seed in range(3)]
    assert torch.equal(paced.step(images[0]), plain.predict(images[0]))
    assert torch.equal(paced.step(images[1]), plain.step(images[1]))
    assert torch.equal(paced.step(images[2]), plain.predict(images[2]))
    assert paced.count().tolist() == [[0.0] * 4]


def test_guesses_are_all_but_even():
    paced = make_paced(single_model=True)
    outputs = paced.step(make_images(64, 0))
    p = outputs.softmax(1)
    assert p.amax(1).max() < 1 / NUM_CLASSES + 1e-3
    assert len(outputs.argmax(1).unique()) == NUM_CLASSES


def test_uploads_of_a_pool_shorter_than_the_batch_are_charged_to_its_last_images():
    paced = make_paced()
    paced.counters = ("adapted", "uploads")
    paced.method.count = lambda: torch.ones(1, 2)
    paced._note(4, True, torch.device("cpu"))
    assert paced.count().tolist() == [[1, 1, 1, 1], [0, 0, 1, 1]]
