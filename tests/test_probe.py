"""Forgetting is measured on clean images, and measuring changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.fakes import RandomImages
from tests.stopping import run_stopped
from tta.config import RunConfig
from tta.datasets.digits import CorruptedDigits
from tta.experiment import build, run
from tta.experiment.observing import probe as probing
from tta.experiment.observing.probe import domain_ends
from tta.experiment.preflight import preflight
from tta.foundation.errors import UserError
from tta.streams import ScenarioOptions, plan_stream

SMALL = {
    "dataset": "digits-c",
    "domains": ("fog", "snow", "contrast"),
    "num_samples": 40,
    "batch_size": 20,
    "device": "cpu",
    "method": "tent",
    "set": {"lr": 0.5},
}


def make(tmp_path, **options):
    return run(RunConfig(**{**SMALL, "output": str(tmp_path), **options}))


@pytest.mark.parametrize("method", ["tent", "rotta", "cotta"])
def test_measuring_changes_no_figure(tmp_path, method):
    options = {"method": method, "set": {}}
    plain = make(tmp_path / "plain", **options)
    probed = make(tmp_path / "probed", probe="source", probe_samples=30, **options)
    for name in ("batches.csv", "domains.csv"):
        assert (Path(plain["path"]) / name).read_bytes() == (
            Path(probed["path"]) / name
        ).read_bytes()
    assert plain["fingerprint"] != probed["fingerprint"]
    assert plain["passes"] == probed["passes"]


def test_what_is_forgotten_is_told(tmp_path):
    found = make(tmp_path, probe="source", probe_samples=60)["probe"]
    assert found["domains"] == ["fog", "snow", "contrast"]
    assert found["positions"] == [40, 80, 120]
    assert found["samples"] == 60
    assert found["start"] > 0.9
    assert found["after"][-1] < 0.9  # of a learning rate that destroys the model
    assert found["drop"] == found["start"] - found["after"][-1]
    assert found["worst_drop"] == found["start"] - min(found["after"])
    assert found["mean"] == pytest.approx(np.mean(found["after"]))


def test_the_source_model_forgets_nothing_whatever_the_images_are(tmp_path):
    clean = tmp_path / "clean.npz"
    images = np.random.default_rng(0).integers(0, 255, (12, 32, 32, 3), np.uint8)
    np.savez(clean, images=images, labels=np.arange(12) % 10)
    found = make(tmp_path, method="source", set={}, probe=f"arrays:{clean}")["probe"]
    assert found["samples"] == 12
    assert set(found["after"]) == {found["start"]}
    np.savez(clean, images=images, labels=(np.arange(12) + 1) % 10)
    other = make(tmp_path, method="source", set={}, probe=f"arrays:{clean}")
    assert not other["reused"]


def test_a_stopped_run_goes_on_to_the_same_figures(tmp_path, monkeypatch):
    whole = make(tmp_path / "whole", probe="source", probe_samples=30)
    config = RunConfig(
        **SMALL,
        probe="source",
        probe_samples=30,
        output=str(tmp_path / "stopped"),
        checkpoint_every=1,
        resume=True,
    )
    experiment = run_stopped(config, 3, monkeypatch)
    partial = json.loads((experiment.path() / "summary.json").read_text())["probe"]
    assert partial["after"] == whole["probe"]["after"][:1]
    assert run(config)["probe"] == whole["probe"]


def test_ends_of_domains():
    data = RandomImages(size=5)

    def ends(scenario):
        return domain_ends(plan_stream(scenario, data, ScenarioOptions())).tolist()

    assert ends("continual") == [5, 10, 15]
    assert ends("gradual") == [45, 90, 135]
    assert ends("mixed_domains") == [15]


def test_batches_across_domains_are_probed_once(tmp_path, monkeypatch):
    calls, accuracy = [], probing.Probe.accuracy
    monkeypatch.setattr(probing.Probe, "accuracy", lambda self: calls.append(1) or accuracy(self))
    options = {"contiguous_batches": True, "batch_size": 100, "num_samples": 40}
    found = make(tmp_path, probe="source", probe_samples=20, **options)["probe"]
    assert len(calls) == 3  # before the stream, and after batches of 100 and of 20
    assert len(found["after"]) == 3
    assert found["after"][0] == found["after"][1]
    assert found["positions"] == [100, 100, 120]
    assert found["domains"] == ["fog", "snow", "contrast"]


def test_mixed_domains_have_no_name(tmp_path):
    found = make(tmp_path, scenario="mixed_domains", probe="source", probe_samples=20)["probe"]
    assert (found["domains"], found["positions"]) == ([None], [120])


def test_images_are_known_by_what_they_are(tmp_path):
    options = {"probe_samples": 20, "method": "source", "set": {}}
    first = make(tmp_path, probe="source", **options)
    again = make(tmp_path, probe="digits", **options)
    assert again["reused"] and again["fingerprint"] == first["fingerprint"]


def test_what_cannot_be_probed_is_refused():
    with pytest.raises(UserError, match="dataset 'nowhere'"):
        preflight(RunConfig(probe="nowhere", device="cpu"))
    with pytest.raises(UserError, match="--probe-samples must be at least 1"):
        RunConfig(probe="source", probe_samples=0)


def test_without_source_images_a_dataset_is_asked_for(tmp_path):
    file = tmp_path / "mine.npz"
    images = np.zeros((20, 32, 32, 3), np.uint8)
    np.savez(file, images=images, labels=np.arange(20) % 10)
    options = {"dataset": f"arrays:{file}", "domains": None, "backbone": "test_resnet.r160_in1k"}
    options |= {"weights": CorruptedDigits().benchmark.weights, "num_classes": 10}
    config = RunConfig(**{**SMALL, **options}, probe="source")
    with pytest.raises(UserError, match="has no source images of its own; pass --source"):
        build(config)
