"""Runs with unknown images that are stopped go on to the same records."""

from pathlib import Path

import numpy as np
import pytest

from tests.stopping import run_stopped
from tta.config import RunConfig
from tta.experiment import run

OPTIONS = {
    "dataset": "digits-c",
    "unknown": "letters",
    "domains": ("fog", "contrast"),
    "num_samples": 20,
    "batch_size": 10,
    "device": "cpu",
}


@pytest.mark.parametrize("method", ["tent", "unient", "sotta", "owttt"])
def test_a_stopped_run_goes_on_to_the_same_figures(tmp_path, monkeypatch, method):
    whole = run(RunConfig(**OPTIONS, method=method, output=str(tmp_path / "whole")))
    stopped = {**OPTIONS, "method": method, "checkpoint_every": 1, "resume": True}
    config = RunConfig(**stopped, output=str(tmp_path / "stopped"))
    run_stopped(config, 3, monkeypatch)
    resumed = run(config)
    assert resumed["resumed_at"] == [30]
    folders = [Path(summary["path"]) for summary in (whole, resumed)]
    for name in ("batches.csv", "domains.csv"):
        first, second = ((folder / name).read_bytes() for folder in folders)
        assert first == second
    first, second = (np.load(folder / "samples.npz") for folder in folders)
    assert all(np.array_equal(first[name], second[name]) for name in ("known", "score", "correct"))
