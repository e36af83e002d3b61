"""Methods and runs on a GPU beside the same on the CPU: `python -m pytest -m cuda`.

Where there is no GPU the same functions run on the CPU for a few methods.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks.timing.gpu_speed import tensor_float_32
from benchmarks.timing.host_draws import host_draws
from tests.fakes import RandomImages, attach_domain_heads, make_backbone, make_images
from tests.reporting.test_checkpoint import config, records, resumed, run_killed
from tests.test_conformance import OPTIONAL, PARAMS, assert_equal_states, kind_for
from tests.weight_files import file_for
from tta.commands.run import main
from tta.datasets.images import to_device
from tta.experiment import run
from tta.methods import METHODS, Need
from tta.methods.params import build_params
from tta.source.source_data import SourceData

BATCHES = [make_images(count, seed) for seed, count in enumerate((6, 1, 4))]
RECORDS = ("batches.csv", "domains.csv", "samples.npz")
REHEARSED = ("tent", "note")
GPU = (
    pytest.mark.cuda,
    pytest.mark.skipif(
        not torch.cuda.is_available(), reason="needs a CUDA device, and there is none"
    ),
)
ON_CUDA = pytest.param("cuda", marks=GPU)
CASES = [
    *(("cpu", name) for name in REHEARSED),
    *(pytest.param("cuda", name, marks=GPU) for name in METHODS),
]


@pytest.fixture(autouse=True)
def full_float32():
    """The sums of both devices then differ by their order alone."""
    with tensor_float_32(False):
        yield


def started(name, device):
    if name in OPTIONAL:
        pytest.importorskip(OPTIONAL[name])
    kind = kind_for(name)
    method = METHODS[name]
    params = build_params(method.Params, {**PARAMS.get(name, {}), **file_for(name, kind)}, name)
    backbone, cloud = make_backbone(kind), make_backbone(kind)
    if Need.DOMAIN_HEADS in method.needs(params):
        attach_domain_heads(backbone)
    made = method(backbone.to(device), params, seed=7)
    if Need.CLOUD_MODEL in method.needs(params):
        made.attach_model(cloud.to(device))
    made.start(SourceData(RandomImages(12, ("source",)), 6, seed=3, device=torch.device(device)))
    return made


def steps(method, device, batches=BATCHES):
    return [method.step(images.to(device)).clone() for images in batches]


@pytest.mark.parametrize(("device", "name"), CASES)
def test_outputs_are_those_of_the_cpu(device, name):
    with host_draws():
        expected = steps(started(name, "cpu"), "cpu")
        found = steps(started(name, device), device)
    # Rounding decides the direction in which Adam moves a parameter that has hardly any gradient.
    for here, there, bound in zip(expected, found, (1e-3, 2e-2, 2e-2), strict=True):
        assert there.device.type == device
        largest = float(here.abs().max())
        torch.testing.assert_close(there.cpu(), here, rtol=0.0, atol=bound * largest)


@pytest.mark.parametrize(("device", "name"), CASES)
def test_state_goes_through_a_file_and_reset_goes_back(device, name):
    method, other = started(name, device), started(name, device)
    initial = method.state_dict()
    steps(method, device)
    file = io.BytesIO()
    torch.save(method.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True, map_location="cpu"))
    assert_equal_states(method.state_dict(), other.state_dict())
    batch = BATCHES[0].to(device)
    outputs = method.step(batch), other.step(batch)
    torch.testing.assert_close(*outputs, rtol=1e-3, atol=1e-3)
    method.reset()
    assert_equal_states(initial, method.state_dict())


def table(folder, device, *options) -> pd.DataFrame:
    words = ["--num-samples", "32", "--batch-size", "16", "--domains", "contrast,pixelate"]
    words += ["--method", "rotta", "--device", device, "--output", str(folder), "--quiet"]
    assert main([*words, *options]) == 0
    return pd.read_csv(folder_of(folder) / "batches.csv")


def folder_of(output) -> Path:
    (folder,) = Path(output).glob("*/*/*/*/*")
    return folder


@pytest.mark.parametrize("device", ["cpu", ON_CUDA])
def test_a_run_has_the_figures_of_the_cpu(device, tmp_path):
    here, there = table(tmp_path / "cpu", "cpu"), table(tmp_path / "there", device)
    assert len(here) == len(there) == 4
    right = [frame["correct"].to_numpy() for frame in (here, there)]
    assert np.abs(right[0] - right[1]).max() <= 1  # image of a batch


@pytest.mark.parametrize("device", ["cpu", ON_CUDA])
def test_deterministic_runs_are_equal_to_the_byte(device, tmp_path):
    # One thread of a CPU needs no option for that.
    options = ["--deterministic"] if device == "cuda" else []
    found = []
    for name in ("first", "second"):
        table(tmp_path / name, device, *options)
        found.append([(folder_of(tmp_path / name) / file).read_bytes() for file in RECORDS])
    assert found[0] == found[1]


@pytest.mark.parametrize("device", ["cpu", ON_CUDA])
def test_a_killed_run_goes_on(device, tmp_path, monkeypatch):
    chosen = {"method": "rotta", "device": device, "num_samples": 32}
    if device == "cuda":
        chosen["deterministic"] = True
    expected = run(config(tmp_path / "whole", **chosen))
    options = config(tmp_path / "killed", **chosen)
    run_killed(monkeypatch, options, 3)
    summary = resumed(options)
    assert summary["resumed_at"] == [32]
    assert records(summary) == records(expected)


@pytest.mark.parametrize("device", ["cpu", ON_CUDA])
def test_times_are_positive_and_add_up(device, tmp_path):
    table(tmp_path, device)
    seconds = pd.read_csv(folder_of(tmp_path) / "timing.csv")["seconds"]
    cost = json.loads((folder_of(tmp_path) / "summary.json").read_text())["cost"]
    assert (seconds > 0).all()
    assert cost["stream_seconds"] == pytest.approx(seconds.sum(), rel=0.5)
    assert cost["memory_rise_bytes"] > 0


@pytest.mark.parametrize("device", ["cpu", ON_CUDA])
def test_images_arrive_whole_from_page_locked_memory(device):
    images = torch.arange(3 * 2**20, dtype=torch.int32).to(torch.uint8)
    sent = images.pin_memory() if device == "cuda" else images
    assert torch.equal(to_device(sent, torch.device(device)).cpu(), images)
