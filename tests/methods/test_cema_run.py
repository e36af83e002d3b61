"""CEMA through the run command."""

import json

import numpy as np
import pandas as pd
import pytest

from tta.commands.run import main
from tta.config import RunConfig
from tta.datasets import open_dataset
from tta.experiment import build

SMALL = ["--method", "cema", "--domains", "contrast,fog", "--num-samples", "70"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def summary_of(capsys, *arguments) -> dict:
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_embedded_benchmark_has_a_cloud_model_of_its_own(capsys, tmp_path):
    assert main(SMALL) == 0
    printed = capsys.readouterr().out
    assert "cifar_resnet32 in the cloud" in printed
    assert "upload %" in printed
    (file,) = tmp_path.glob("results/runs/digits-c/*/*/cema/*/domains.csv")
    domains = pd.read_csv(file)
    summary = json.loads(file.with_name("summary.json").read_text())
    counters = summary["counters"]
    assert counters["uploads"] == domains["uploads"].sum() > 0
    assert counters["uplink_bytes"] == 3 * 32 * 32 * counters["uploads"]
    assert 0 < counters["uplink_encoded_bytes"] < counters["uplink_bytes"]
    assert counters["refreshes"] > 0
    assert summary["upload_fraction"] == counters["uploads"] / 140
    assert summary["cloud_weights_sha256"] != summary["weights_sha256"]


def test_a_budget_and_a_slow_link(capsys):
    free = summary_of(capsys, *SMALL, "--batch-size", "10")
    capped = summary_of(
        capsys,
        *SMALL,
        "--batch-size",
        "10",
        "--set",
        "upload_budget=0.25",
        "--set",
        "link_latency=100",
    )
    assert free["upload_fraction"] > 0.25 >= capped["upload_fraction"] > 0.2
    assert capped["counters"]["foundation_steps"] == 0
    assert free["fingerprint"] != capped["fingerprint"]


def test_without_a_cloud_model_it_is_refused(capsys, tmp_path):
    dataset = open_dataset("digits")
    images = dataset.images("clean", 0, np.arange(20)).permute(0, 2, 3, 1).numpy()
    np.savez(tmp_path / "own.npz", images=images, labels=dataset.labels("clean", 0)[:20])
    options = ["--dataset", "arrays:own.npz", "--backbone", "test_resnet", "--num-classes", "10"]
    assert main(["--method", "cema", *options, "--weights", dataset.benchmark.weights]) == 2
    error = capsys.readouterr().err
    assert "--cloud-backbone" in error and "--cloud-weights" in error


def test_the_cloud_model_of_ones_own():
    dataset = open_dataset("digits-c")
    config = RunConfig(
        method="cema",
        domains=("fog",),
        cloud_backbone="test_resnet",
        cloud_weights=dataset.benchmark.weights,
        num_classes=10,
    )
    assert build(config).cloud.name == "test_resnet.r160_in1k"
