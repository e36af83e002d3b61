"""When a run is marked as collapsed, and when not."""

import numpy as np
import pytest
import torch
from torch import nn

from tta.commands.run import main
from tta.config import RunConfig
from tta.experiment import build, run
from tta.experiment.observing.collapse import (
    BLOCK,
    CollapseWatch,
    blocks,
    class_entropy,
    relative_distance,
)
from tta.experiment.observing.course import initial_predictions
from tta.streams import StreamPlan
from tta.streams.stream import Batch

CLASSES = 10
SIZE = 64


def plan_of(length: int, resets=()) -> StreamPlan:
    zeros = np.zeros(length, np.int64)
    reset_before = np.zeros(length, bool)
    reset_before[list(resets)] = True
    visit = np.arange(length) * 2 // length
    return StreamPlan(("a", "b"), visit, zeros, np.arange(length), visit, visit, reset_before)


def watch_of(labels, predictions, initial) -> CollapseWatch:
    """Return a watch after a stream of these predictions."""
    model = nn.Linear(2, 2)
    starts = np.arange(0, len(labels), SIZE)
    plan = plan_of(len(labels))
    watch = CollapseWatch(plan, labels, starts, "logits", model, model, lambda rows: initial[rows])
    for start in starts:
        stop = min(start + SIZE, len(labels))
        outputs = torch.eye(CLASSES)[predictions[start:stop]] * 9
        watch.update(Batch(None, int(start), int(stop), False), outputs)
    watch.read()
    watch.judge()
    return watch


@pytest.fixture
def labels():
    return np.random.default_rng(0).integers(0, CLASSES, 8 * BLOCK)


def mostly(labels, share, value=3):
    """Return ``labels`` with a ``share`` of them replaced."""
    wrong = np.random.default_rng(1).random(len(labels)) < share
    return np.where(wrong, value, labels)


def test_one_class_for_many_is_a_collapse_and_its_first_batch_is_named(labels):
    predictions = labels.copy()
    predictions[3 * BLOCK :] = 3
    watch = watch_of(labels, predictions, initial=labels)
    assert watch.collapsed_at == 3 * BLOCK
    assert watch.batch == 3 * BLOCK // SIZE + 1


def test_wrong_predictions_of_many_classes_are_none(labels):
    assert watch_of(labels, (labels + 1) % CLASSES, initial=labels).batch is None
    assert watch_of(labels, mostly(labels, 0.6), initial=labels).batch is None


def test_a_domain_that_was_as_hard_before_adaptation_is_none(labels):
    skewed = mostly(labels, 0.97)
    assert watch_of(labels, skewed, initial=skewed).batch is None
    assert watch_of(labels, skewed, initial=labels).batch == 1


def test_sorted_labels_are_judged_over_enough_classes(labels):
    ordered = np.sort(labels)
    assert watch_of(ordered, ordered, initial=ordered).batch is None
    stuck = np.where(np.arange(len(ordered)) < len(ordered) // 3, ordered, 3)
    assert watch_of(ordered, stuck, initial=ordered).batch is not None


def test_short_streams():
    few = np.arange(24) % CLASSES
    assert watch_of(few, few * 0, initial=few).batch is None
    enough = np.arange(60) % CLASSES
    assert watch_of(enough, enough * 0, initial=enough).batch == 1
    assert watch_of(enough, enough, initial=enough).batch is None


def test_blocks_cover_the_stream_but_no_reset():
    labels = np.arange(1000) % CLASSES
    reset = plan_of(1000, resets=(300, 310)).reset_before
    assert blocks(labels, reset) == [(0, 256), (256, 300), (310, 566), (566, 822), (822, 1000)]
    one_class = np.zeros(1000, np.int64)
    assert len(blocks(one_class, reset)) == 5  # never suspicious: no entropy is below 0


def test_the_mean_entropy_of_a_visit_is_over_unknown_images_too():
    """Whoever chooses by it has no label to leave them out by."""
    labels = np.array([0, -1, 1, -1])
    net, starts = nn.Linear(1, 1), np.array([0])
    watch = CollapseWatch(plan_of(4), labels, starts, "logits", net, net, lambda rows: labels[rows])
    outputs = torch.tensor([[99.0, 0], [0, 0], [99, 0], [0, 0]])
    watch.update(Batch(torch.empty(0), 0, 4, False), outputs)
    watch.read()
    assert watch.domain_row(np.arange(4))["entropy"] == pytest.approx(np.log(2) / 2)


def test_entropy_of_classes():
    assert class_entropy(np.array([2, 2, 2])) == 0
    assert class_entropy(np.arange(4)) == pytest.approx(np.log(4))


def test_the_entropy_of_outputs_that_rule_classes_out():
    """Two of three classes are equally likely, and the third is impossible: ln 2."""
    labels, model = np.zeros(2, np.int64), nn.Linear(2, 2)
    plan = plan_of(2)
    watch = CollapseWatch(plan, labels, np.array([0]), "logits", model, model, lambda rows: rows)
    outputs = torch.tensor([[1.0, 1.0, -torch.inf], [torch.nan, 1.0, 1.0]])
    watch.update(Batch(None, 0, 2, False), outputs)
    watch.read()
    assert watch.values[1, 0] == pytest.approx(np.log(2))
    assert np.isnan(watch.values[:, 1]).all()


def test_distance_is_relative_to_the_source():
    source = [torch.tensor([3.0, 0.0]), torch.tensor([4.0])]
    moved = [torch.tensor([3.0, 1.0]), torch.tensor([4.0])]
    assert relative_distance(list(zip(moved, source, strict=True))) == pytest.approx(0.2)


def test_figures_of_domains_and_state(labels):
    half = len(labels) // 2
    predictions = np.where(np.arange(len(labels)) < half, labels, 3)
    watch = watch_of(labels, predictions, initial=labels)
    first, second = watch.domain_row(np.arange(half)), watch.domain_row(np.arange(half, 2 * half))
    assert first["predicted_classes"] == pytest.approx(CLASSES, rel=0.02)
    assert second["predicted_classes"] == 1
    assert second["weight_distance"] == 0
    other = watch_of(labels, labels, initial=labels)
    other.load_state_dict(watch.state_dict())
    assert other.collapsed_at == watch.collapsed_at == half
    assert other.domain_row(np.arange(half)) == first


OPTIONS = {"domains": ("fog", "contrast", "pixelate"), "num_samples": 320, "batch_size": 32}


def test_tent_with_a_huge_rate_collapses_and_the_source_never(tmp_path, capsys):
    arguments = ["--domains", "fog,contrast,pixelate", "--num-samples", "320", "--batch-size", "32"]
    tent = ["--method", "tent", "--set", "lr=1.0", "--output", str(tmp_path)]
    assert main([*arguments, *tent]) == 0
    assert "collapsed at batch " in capsys.readouterr().out
    summary = run(RunConfig(method="tent", set={"lr": 1.0}, output=str(tmp_path), **OPTIONS))
    assert summary["reused"]
    assert summary["domains"][2]["predicted_classes"] < 4
    assert summary["domains"][2]["weight_distance"] > 0.1
    for method in ("source", "tent"):
        summary = run(RunConfig(method=method, output=str(tmp_path), **OPTIONS))
        assert summary["collapsed_at_batch"] is None
    assert summary["domains"][0]["weight_distance"] > 0


def test_asking_for_the_first_predictions_changes_nothing():
    experiment = build(RunConfig(method="rmt", set={"warm_up_samples": 64}, **OPTIONS))
    method, (first, second, *_) = experiment.method, experiment.stream
    method.start(experiment.source)
    before = method.predict(first.images).argmax(1)
    method.step(first.images)
    expected = method.state_dict()
    positions = np.arange(first.start, first.stop)
    assert (initial_predictions(experiment, positions) == before.numpy()).all()
    outputs = method.step(second.images)
    method.load_state_dict(expected)
    assert torch.equal(method.step(second.images), outputs)


def test_the_verdict_does_not_depend_on_when_it_is_read(tmp_path):
    options = {"method": "tent", "set": {"lr": 1.0}, **OPTIONS}
    seldom = run(RunConfig(**options, output=str(tmp_path / "a")))
    often = run(RunConfig(**options, output=str(tmp_path / "b"), checkpoint_every=3))
    assert often["collapsed_at_batch"] == seldom["collapsed_at_batch"]
    assert often["passes"] == seldom["passes"]
