"""Whole runs on a device that is not the host's: figures, times, memory and records."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from tests.other_device import DEVICE, MEMORY, Event, OtherDevice
from tests.stopping import run_stopped
from tta.config import RunConfig
from tta.experiment import assembly, execution, run

OPTIONS = {
    "domains": ("fog", "contrast"),
    "num_samples": 8,
    "batch_size": 4,
    "no_cache": True,
    "workers": 0,
}
COTTA = {"confidence_threshold": 0.9, "views": 2}


@pytest.fixture
def elsewhere(monkeypatch):
    """Let draws for the other device be those of the host, so that figures can be compared."""
    for module in [module for name, module in sys.modules.items() if name.startswith("tta.")]:
        if hasattr(module, "generator_on"):
            monkeypatch.setattr(module, "generator_on", lambda device, generator: generator)
    monkeypatch.setattr(assembly, "choose_device", lambda *_: DEVICE)
    # The stand-in is of this thread alone: images are not made ahead in another.
    monkeypatch.setattr("tta.datasets.loading.core_count", lambda: 1)
    with OtherDevice() as mode:
        yield mode


def errors(summary):
    return [row["error"] for row in summary["domains"]]


def test_a_run_has_the_figures_of_the_host(tmp_path, elsewhere, monkeypatch):
    there = run(RunConfig(method="bn_alpha", output=str(tmp_path / "there"), **OPTIONS))
    assert there["environment"]["device"] == "cuda"
    assert there["environment"]["device_index"] == 1
    assert there["environment"]["tf32"] is there["environment"]["tf32_convolutions"] is False
    config = (Path(there["path"]) / "config.yaml").read_text()
    assert "device: cuda\n" in config
    monkeypatch.setattr(assembly, "choose_device", lambda *_: torch.device("cpu"))
    here = run(RunConfig(method="bn_alpha", output=str(tmp_path / "here"), **OPTIONS))
    assert errors(there) == pytest.approx(errors(here), abs=0.13)  # images near a boundary


def test_a_fingerprint_holds_the_kind_of_device_and_how_it_rounds(elsewhere):
    experiment = assembly.build(RunConfig(method="tent", **OPTIONS))

    def fingerprint(**options):
        config = dataclasses.replace(experiment.config, **options)
        return dataclasses.replace(experiment, config=config).fingerprint()

    assert len({fingerprint(device=name) for name in ("auto", "cuda", "cuda:0", "cuda:1")}) == 1
    others = ({}, {"precision": "tf32"}, {"deterministic": True})
    assert len({fingerprint(device="cuda", **options) for options in others}) == 3


def test_batches_are_timed_by_events_which_nothing_waits_for_in_the_loop(tmp_path, elsewhere):
    Event.waits = 0
    summary = run(RunConfig(method="tent", output=str(tmp_path), **OPTIONS))
    timing = pd.read_csv(Path(summary["path"]) / "timing.csv")
    assert len(timing) == 4
    seconds = timing["seconds"].to_numpy()
    assert (1000 * seconds).round(6).tolist() == (1000 * seconds).round().tolist()  # operators
    assert (seconds > 0.05).all()
    assert summary["cost"]["stream_seconds"] == pytest.approx(seconds.sum())
    assert Event.waits <= 8


def test_memory_counts_a_teacher_and_no_snapshot(tmp_path, elsewhere):
    rises = {}
    for method in ("source", "cotta", "sar"):
        settings = {"set": COTTA} if method == "cotta" else {}
        options = {**OPTIONS, **settings, "checkpoint_every": 1}
        config = RunConfig(method=method, output=str(tmp_path), **options)
        experiment = assembly.build(config)
        tensors = [*experiment.backbone.parameters(), *experiment.backbone.buffers()]
        model_bytes = sum(tensor.nbytes for tensor in tensors)
        rises[method] = experiment.method_bytes
        MEMORY.greatest = 0
        summary = execution.run_experiment(experiment)
        assert next(experiment.backbone.parameters()).device.type == "cpu"
        assert summary["cost"]["memory_rise_bytes"] >= rises[method]
        assert summary["cost"]["peak_memory_bytes"] <= MEMORY.greatest
        del experiment, tensors
    # The model itself; CoTTA's teacher and source model besides.
    assert rises["source"] == pytest.approx(model_bytes, rel=0.05)
    assert rises["cotta"] >= 2.9 * model_bytes
    assert rises["sar"] < 1.2 * model_bytes


def test_the_initial_state_is_in_host_memory_and_comes_back(elsewhere):
    method = assembly.build(RunConfig(method="cotta", set=COTTA, **OPTIONS)).method
    before = MEMORY.held
    method.start()
    assert MEMORY.held - before < 100  # a threshold
    first = method.parameters[0]
    kept = first.detach().clone()
    with torch.no_grad():
        first.add_(1.0)
    method.reset()
    assert (first.held - kept.held).abs().max() == 0
    assert first.device == DEVICE


def test_a_stopped_run_goes_on_to_the_same_figures(tmp_path, elsewhere, monkeypatch):
    options = {"method": "sar", **OPTIONS, "checkpoint_every": 1}
    whole = run(RunConfig(**options, output=str(tmp_path / "whole")))
    config = RunConfig(**options, output=str(tmp_path / "stopped"), resume=True)
    run_stopped(config, 3, monkeypatch)
    resumed = run(config)
    assert resumed["resumed_at"] == [12]
    tables = [(Path(summary["path"]) / "batches.csv").read_bytes() for summary in (whole, resumed)]
    assert tables[0] == tables[1]
    assert json.loads((Path(resumed["path"]) / "summary.json").read_text())["finished"]
