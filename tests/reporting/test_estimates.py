"""Accuracy estimated without labels: a worked example, resets, and figures left as they are."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks.timing.syncs import SyncCounter
from tests.fakes import NUM_CLASSES, RandomImages, make_backbone, make_images
from tests.reporting.test_checkpoint import resumed, run_killed
from tta.backbones.dropout import StageDropout
from tta.config import RunConfig
from tta.experiment import build, run
from tta.experiment.observing.estimate_table import EstimateTable
from tta.experiment.observing.estimates import Estimated, Estimator
from tta.foundation.errors import UserError
from tta.streams import ScenarioOptions, plan_stream
from tta.tasks.aetta import (
    ResetRule,
    disagreement,
    dropout_rate,
    mean_confidence,
    penalised,
    smoothed,
)

SHORT = {"domains": ("contrast", "pixelate"), "num_samples": 48, "batch_size": 16}
BOTH = ("aetta", "softmax")


def test_the_worked_example():
    batches = torch.tensor([(0.85, 1.8), (0.80, 1.5), (0.60, 0.9), (0.90, 2.2)])
    errors = [penalised(1 - agreed, entropy, 10).item() for agreed, entropy in batches]
    assert errors == pytest.approx([0.314000, 0.723455, 0.9, 0.114654], abs=1e-6)
    error, estimates = None, []
    for agreed, entropy in batches:
        error = smoothed(error, 1 - agreed, entropy, 10)
        estimates.append(100 * (1 - error.item()))
    assert estimates == pytest.approx([78.4400, 58.1258, 38.8755, 58.7391], abs=1e-4)


def test_disagreement_and_entropy_of_the_mean_output():
    p = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
    dropped = torch.tensor([[[0.6, 0.4], [0.7, 0.3]], [[0.3, 0.7], [0.4, 0.6]]])
    error, entropy = disagreement(p.log(), dropped.log())
    assert error.item() == pytest.approx(0.5)  # two of four passes name another class
    assert entropy.item() == pytest.approx(np.log(2), abs=1e-5)  # each class has half


def test_outputs_that_are_no_numbers_are_wrong_and_not_for_ever():
    p = torch.tensor([[0.9, 0.1], [0.2, 0.8]]).log()
    broken = torch.full((2, 2), torch.nan)
    error, entropy = disagreement(broken, broken.expand(3, 2, 2))
    assert error.item() == 1
    after = smoothed(None, error, entropy, 2)
    assert after.item() == pytest.approx(0.6 + 0.4 * 0.5)
    assert smoothed(after, *disagreement(p, p.expand(3, 2, 2)), 2).item() == pytest.approx(0.48)
    assert mean_confidence(torch.stack([p[0], broken[0]])).item() == pytest.approx(0.75 / 2)


def test_confidence_is_softened_by_a_temperature_of_two():
    logits = torch.tensor([[4.0, 0.0, 0.0]])
    expected = np.exp(2) / (np.exp(2) + 2)
    assert mean_confidence(logits.log_softmax(1)).item() == pytest.approx(expected)


def test_rates_as_published():
    assert [dropout_rate(classes) for classes in (10, 100, 200, 1000)] == [0.4, 0.3, 0.3, 0.2]


@pytest.mark.parametrize(
    ("estimates", "resets"),
    [
        ([0.5, 0.19, 0.5, 0.1], [2, 4]),
        ([0.5] * 5 + [0.47] * 5, [10]),
        ([0.5] * 5 + [0.49] * 15, []),
        ([0.5] * 9 + [0.3] + [0.3] * 9, [10]),  # what was before the reset is forgotten
        ([0.9] * 3 + [0.5] * 10, [10]),
        ([0.5] * 9, []),
    ],
)
def test_resets_as_published(estimates, resets):
    rule = ResetRule()
    assert [number for number, one in enumerate(estimates, 1) if rule.is_due(one)] == resets


def test_dropout_is_on_when_it_is_wanted_and_in_copies_too():
    backbone = make_backbone("batch_norm")
    images = make_images(6)
    before = backbone(images)
    dropout = StageDropout(backbone, 0.5)
    copy = backbone.clone()
    assert torch.equal(copy(images), before)
    with dropout.on(torch.Generator().manual_seed(1)):
        first, second = copy(images), copy(images)
    with dropout.on(torch.Generator().manual_seed(1)):
        again = backbone(images)
    assert torch.equal(copy(images), before)
    assert not torch.equal(first, before)
    assert not torch.equal(first, second)
    assert torch.equal(again, first)


def test_dropout_is_after_each_stage_and_keeps_the_mean():
    backbone = make_backbone("batch_norm")
    dropout = StageDropout(backbone, 0.25)
    maps = {}
    stages = [module for module in backbone.modules() if module._forward_hooks]
    assert len(stages) == 4
    for number, stage in enumerate(stages):
        stage.register_forward_hook(
            lambda _, inputs, output, number=number: maps.update({number: output})
        )
    plain = {}
    backbone(make_images(8))
    plain.update(maps)
    with dropout.on(torch.Generator().manual_seed(0)):
        backbone(make_images(8))
    first, dropped = plain[0], maps[0]
    kept = dropped != 0
    assert torch.allclose(dropped[kept], first[kept] / 0.75)
    assert kept[first != 0].float().mean().item() == pytest.approx(0.75, abs=0.02)


def test_a_model_without_stages_is_refused():
    class Bare:
        name = "bare"
        model = torch.nn.Sequential(torch.nn.Linear(3, 3))

    with pytest.raises(UserError, match="'bare' does not tell its stages"):
        StageDropout(Bare(), 0.5)


class Counting:
    """A method whose outputs name the number of its steps."""

    def __init__(self):
        self.steps = self.resets = 0
        self.asked = []

    def step(self, images):
        self.steps += 1
        return torch.full((len(images), NUM_CLASSES), float(self.steps))

    def predict(self, images):
        self.asked.append(self.steps)
        return torch.eye(NUM_CLASSES)[:1].repeat(len(images), 1)

    def count(self):
        return None

    def reset(self):
        self.resets += 1


def estimator_of(method, rule=None):
    data = RandomImages(8, ("a",))
    table = EstimateTable(("softmax",), plan_stream("continual", data, ScenarioOptions()))
    return Estimator(table, "logits", NUM_CLASSES, method.predict, 1, rule=rule)


@pytest.mark.parametrize(("predicts", "asked"), [("before", [0, 1]), ("after", [1, 2])])
def test_the_method_is_asked_in_the_state_that_gives_the_outputs(predicts, asked):
    method, apart = Counting(), []

    class Apart:
        def __enter__(self):
            apart.append(method.steps)

        def __exit__(self, *_):
            pass

    estimated = Estimated(method, predicts, estimator_of(method), Apart)
    found = [estimated.step(make_images(4))[0, 0].item() for _ in range(2)]
    assert found == [1, 2]
    assert method.asked == apart == asked


def test_without_a_rule_nothing_waits():
    backbone = make_backbone("batch_norm")
    data = RandomImages(8, ("a",))
    table = EstimateTable(BOTH, plan_stream("continual", data, ScenarioOptions()))
    dropout = StageDropout(backbone, 0.4)
    estimator = Estimator(table, "logits", NUM_CLASSES, backbone, 1, dropout=dropout)
    images = make_images(4)
    with SyncCounter() as counter:
        estimator.update(images)
        estimator.update(images)
        estimator.guard(lambda outputs: True, backbone.eval)(images)
    assert not counter.places
    estimator.rule = ResetRule()
    with SyncCounter() as counter:
        estimator.guard(lambda outputs: True, backbone.eval)(images)
    assert counter.places.total() == 1


def read(path, name) -> pd.DataFrame:
    return pd.read_csv(Path(path, name))


def test_a_run_with_estimates_has_the_figures_of_one_without(tmp_path):
    plain = run(RunConfig(method="rotta", output=str(tmp_path), **SHORT))
    watched = run(RunConfig(method="rotta", output=str(tmp_path), estimate=BOTH, **SHORT))
    for name in ("batches.csv", "domains.csv"):
        lines = Path(watched["path"], name).read_text().splitlines()
        columns = len(lines[0].split(",")) - 4
        cut = [",".join(line.split(",")[:columns]) for line in lines]
        assert cut == Path(plain["path"], name).read_text().splitlines()
    samples = [Path(one["path"], "samples.npz").read_bytes() for one in (plain, watched)]
    assert samples[0] == samples[1]
    assert plain["passes"] == watched["passes"]
    batches, domains = read(watched["path"], "batches.csv"), read(watched["path"], "domains.csv")
    accuracy = batches["correct"] / batches["size"]
    for name in BOTH:
        estimate, gap = batches[f"estimate_{name}"], batches[f"estimate_{name}_gap"]
        assert estimate.between(0, 1).all()
        np.testing.assert_allclose(gap, (estimate - accuracy).abs(), atol=1e-6)
        means = gap.groupby(batches["domain"], sort=False).mean()
        np.testing.assert_allclose(domains[f"estimate_{name}_gap"], means, atol=1e-6)
        found = watched["estimates"][name]
        assert found["mean"] == pytest.approx(estimate.mean(), abs=1e-6)
        assert found["mean_absolute_error"] == pytest.approx(gap.mean(), abs=1e-6)


def test_a_run_that_is_reset_goes_on_from_a_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr("tta.tasks.aetta.LOWEST", 0.6)
    options = {"method": "tent", "set": {"lr": 0.01}, "estimate": BOTH, "reset_rule": "aetta"}
    options |= {"checkpoint_every": 1, **SHORT}
    whole = run(RunConfig(output=str(tmp_path / "whole"), **options))
    config = RunConfig(output=str(tmp_path / "killed"), **options)
    run_killed(monkeypatch, config, 5)
    summary = resumed(config)
    assert summary["resumed_at"] == [64]
    assert summary["reset_rule"] == whole["reset_rule"]
    rule, estimates = ResetRule(), read(whole["path"], "batches.csv")["estimate_aetta"]
    due = [number for number, one in enumerate(estimates, 1) if rule.is_due(one)]
    assert whole["reset_rule"]["after_batches"] == due != []
    assert summary["estimates"] == whole["estimates"]
    for name in ("batches.csv", "domains.csv"):
        pair = [Path(one["path"], name).read_bytes() for one in (whole, summary)]
        assert pair[0] == pair[1]


def test_a_reset_leaves_the_other_guard_its_say():
    rule = ResetRule()
    rule.is_due = lambda estimate: True
    method = Counting()
    estimator = estimator_of(method, rule)
    estimator.table.names = ("aetta",)
    estimator.latest = torch.zeros(1)
    guard = estimator.guard(lambda outputs: False, method.reset)
    assert guard(torch.zeros(4, NUM_CLASSES)) is False
    assert method.resets == 1


def test_options_are_explicit_in_a_record_and_without_effect_the_default():
    few = {"method": "source", "domains": ("fog",), "num_samples": 8}
    made = build(RunConfig(estimate="aetta", **few)).resolved()
    assert made["estimate"] == ["aetta"]
    assert made["estimate_dropout"] == 0.4
    given = build(RunConfig(estimate="aetta", estimate_dropout=0.4, **few)).resolved()
    assert given == made
    with pytest.raises(UserError, match="--estimate-dropout belongs to --estimate aetta"):
        RunConfig(estimate="softmax", estimate_dropout=0.1)
    with pytest.raises(UserError, match="add --estimate aetta"):
        RunConfig(reset_rule="aetta", estimate="softmax")
    with pytest.raises(UserError, match="leave --window out"):
        RunConfig(estimate="softmax", window=8, batch_size=1)
