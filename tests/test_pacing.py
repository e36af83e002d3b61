"""Protocols of time and cost, as a user asks for them."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from tests.stopping import run_stopped
from tta.commands.run import main
from tta.config import RunConfig
from tta.experiment import run
from tta.foundation.errors import UserError

SMALL = {
    "dataset": "digits-c",
    "domains": ("fog", "snow"),
    "num_samples": 60,
    "batch_size": 10,
    "device": "cpu",
}


def tables(summary):
    return {
        name: pd.read_csv(Path(summary["path"]) / f"{name}.csv") for name in ("batches", "domains")
    }


def make(tmp_path, **options):
    return run(RunConfig(**{**SMALL, "method": "tent", "output": str(tmp_path), **options}))


def test_at_cost_1_nothing_is_missed(tmp_path):
    plain, paced = make(tmp_path), make(tmp_path, stream_rate=1.0, cost=1)
    assert plain["fingerprint"] != paced["fingerprint"]
    before, after = tables(plain), tables(paced)
    for name in before:
        assert (after[name]["adapted"] == after[name].get("size", after[name].get("samples"))).all()
        kept = after[name].drop(columns="adapted")
        assert kept.to_csv() == before[name].to_csv()


def test_at_cost_3_a_third_of_the_batches_adapts(tmp_path):
    found = make(tmp_path, stream_rate=1.0, cost="counted")
    assert tables(found)["batches"]["adapted"].tolist() == [10, 0, 0] * 4
    assert found["pace"] == {
        "rule": "--stream-rate 1 --cost counted",
        "batches": 12,
        "adapted_batches": 4,
        "cost": 3.0,
    }
    given = make(tmp_path, stream_rate=1.0, cost=3)
    assert given["mean_error"] == found["mean_error"]
    assert make(tmp_path, stream_rate=0.0, cost=3)["pace"]["adapted_batches"] == 12


def test_a_scenario_s_reset_pays_the_debt(tmp_path):
    found = make(tmp_path, stream_rate=1.0, cost=4, scenario="reset_each_shift")
    assert tables(found)["batches"]["adapted"].tolist() == [10, 0, 0, 0, 10, 0] * 2


def test_the_measured_cost_is_said(tmp_path, capsys):
    arguments = ["--method", "tent", "--dataset", "digits-c", "--domains", "fog", "--device", "cpu"]
    arguments += ["--num-samples", "60", "--batch-size", "10", "--output", str(tmp_path), "--quiet"]
    assert main([*arguments, "--stream-rate", "1"]) == 0
    shown = capsys.readouterr().out
    assert "protocol: --stream-rate 1; adapted to" in shown
    assert "a step costs" in shown


@pytest.mark.parametrize(
    "options",
    [
        {"stream_rate": 1.0, "cost": "counted"},
        {"adaptation_rate": 0.3, "adapt_from": "pool"},
        {"adapt_every": "3,2"},
        {"adapt_samples": 20},
    ],
)
def test_a_stopped_run_goes_on_to_the_same_figures(tmp_path, monkeypatch, options):
    whole = make(tmp_path / "whole", **options)
    config = {**SMALL, "method": "tent", **options, "checkpoint_every": 1, "resume": True}
    config = RunConfig(**config, output=str(tmp_path / "stopped"))
    run_stopped(config, 5, monkeypatch)
    resumed = run(config)
    assert resumed["resumed_at"] == [50]
    for name in ("batches.csv", "domains.csv"):
        assert (Path(whole["path"]) / name).read_bytes() == (
            Path(resumed["path"]) / name
        ).read_bytes()
    assert resumed["pace"] == whole["pace"]


def test_held_out_images_alone_are_judged(tmp_path):
    found = make(tmp_path, adapt_samples=20, adapt_classes=4)
    domains = tables(found)["domains"]
    assert domains["adapted"].sum() == found["held_out"]["adapted_images"]
    assert (domains["adapted"] <= 20).all() and (domains["adapted"] > 5).all()
    assert found["samples"] == domains["samples"].sum() < 2 * 60
    assert found["held_out"]["seen_classes"] == 4
    assert found["held_out"]["unseen_classes"] == 6
    rates = [found["held_out"][f"{kind}_accuracy"] for kind in ("seen", "unseen")]
    assert min(rates) <= 1 - found["pooled_error"] <= max(rates)


def test_a_step_has_a_cost_where_it_is_asked_for_alone(tmp_path):
    assert make(tmp_path, adapt_every="2")["pace"]["cost"] is None


def test_a_reset_by_a_rule_pays_no_debt(tmp_path):
    options = {"stream_rate": 1.0, "cost": 4, "estimate": ("aetta",), "reset_rule": "aetta"}
    found = make(tmp_path, set={"lr": 1e3}, **options)
    assert found["reset_rule"]["after_batches"]
    assert tables(found)["batches"]["adapted"].tolist() == [10, 0, 0, 0] * 3
    options = {"stream_rate": 1.0, "cost": 4, "on_nonfinite": "reset"}
    found = make(tmp_path, set={"lr": 1e30}, **options)
    assert found["nonfinite_batches"] > 0
    assert tables(found)["batches"]["adapted"].tolist() == [10, 0, 0, 0] * 3


def test_where_every_batch_is_reset_no_stream_can_hurry(tmp_path):
    options = {"scenario": "few_classes_per_batch", "tasks": 6}
    with pytest.raises(UserError, match="resets before every batch"):
        make(tmp_path, stream_rate=1.0, cost=3, **options)
    found = make(tmp_path, adaptation_rate=0.5, **options)
    assert found["pace"]["adapted_batches"] == 6


def test_what_cuts_nothing_is_one_run(tmp_path):
    names = [make(tmp_path, adapt_samples=count)["fingerprint"] for count in (100, 1000)]
    assert names[0] == names[1] != make(tmp_path, adapt_samples=5)["fingerprint"]
    names = [make(tmp_path, adaptation_rate=1, adapt_first=first) for first in (True, False)]
    assert names[0]["fingerprint"] == names[1]["fingerprint"]


@pytest.mark.parametrize("method", ["source", "cotta", "lame", "rotta", "sar", "memo", "t3a"])
def test_methods_of_every_kind_can_be_paced(tmp_path, method):
    found = make(tmp_path, method=method, adapt_every="2", num_samples=20)
    assert found["pace"]["adapted_batches"] == 2
    assert 0 <= found["mean_error"] <= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stream_rate": 1.0, "adapt_every": "3"}, "exclude each other"),
        ({"cost": 3}, "--cost belongs to --stream-rate"),
        ({"single_model": True}, "--single-model belongs to --stream-rate"),
        ({"adapt_from": "pool"}, "belongs to --adaptation-rate or --adapt-every"),
        ({"adapt_every": "2,3"}, "1 <= N <= K"),
        ({"adapt_every": "a"}, "1 <= N <= K"),
        ({"stream_rate": 1.0, "cost": 0.5}, "at least 1, but got 0.5"),
        ({"stream_rate": 1.0, "cost": "much"}, "at least 1, but got 'much'"),
        ({"stream_rate": 1.5}, "--stream-rate must be at most 1"),
        ({"adapt_classes": "-1"}, "how many classes"),
        ({"adapt_classes": 0}, "how many classes"),
        ({"estimate_dropout": 0.5}, "belongs to --estimate aetta"),
        (
            {"stream_rate": 1.0, "single_model": True, "estimate": ("softmax",)},
            "--single-model guesses",
        ),
        ({"adapt_samples": 4, "contiguous_batches": True}, "leave --contiguous-batches out"),
        ({"adapt_samples": 4, "window": 4, "batch_size": 1}, "--window has a pace of its own"),
    ],
)
def test_what_contradicts_itself_is_refused(options, message):
    with pytest.raises(UserError, match=message):
        RunConfig(**options)


def test_one_meaning_has_one_form():
    assert RunConfig(adapt_every="4") == RunConfig(adapt_every=[4, 1])
    assert RunConfig(adapt_classes="7,0") == RunConfig(adapt_classes=(0, 7))
    assert RunConfig(stream_rate=1, cost="3") == RunConfig(stream_rate=1, cost=3)
    for options in ({"adapt_classes": "0,"}, {"adapt_every": "4,2"}, {"adapt_classes": 3}):
        mapping = json.loads(json.dumps(RunConfig(**options).to_mapping()))
        assert RunConfig.from_mapping(mapping, "it") == RunConfig(**options)
