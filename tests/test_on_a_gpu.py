"""Methods and runs on a GPU beside the same on the CPU: `python -m pytest -m cuda`.

Where there is no GPU the same functions run on the CPU for a few methods.
"""

from __future__ import annotations

import copy
import io
import json
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
import torch

import tta
from benchmarks.timing.gpu_speed import tensor_float_32
from benchmarks.timing.host_draws import host_draws
from tests.fakes import RandomImages, attach_domain_heads, make_backbone, make_images
from tests.reporting.test_checkpoint import config, records, resumed, run_killed
from tests.test_conformance import OPTIONAL, PARAMS, assert_equal_states, kind_for
from tests.test_dense_conformance import OWN as DENSE_PARAMS
from tests.weight_files import file_for
from tta.commands.run import main
from tta.config import RunConfig
from tta.experiment import build, compiling, run
from tta.experiment.segmenting import dense_methods
from tta.foundation.from_host import from_host
from tta.methods import METHODS, Need
from tta.methods.captured import CapturedSteps, let_optimizers_be_captured
from tta.methods.dense import dense_defaults
from tta.methods.params import build_params
from tta.methods.state import park
from tta.source.source_data import SourceData
from tta.testing.stand_ins import RandomMaps

BATCHES = [make_images(count, seed) for seed, count in enumerate((6, 1, 4))]
RECORDS = ("batches.csv", "domains.csv", "samples.npz")
REHEARSED = ("tent", "note")
# Elsewhere rounding decides which view counts, or which classes a prompt names, of drawn networks.
STEADY = {"ctpt": {"share": 1.0}, "clipartt": {"lr": 1e-6}}
GPU = (
    pytest.mark.cuda,
    pytest.mark.skipif(
        not torch.cuda.is_available(), reason="needs a CUDA device, and there is none"
    ),
)
ON_CUDA = pytest.param("cuda", marks=GPU)
CAPTURABLE = [name for name in METHODS if METHODS[name].capturable]
CASES = [
    *(("cpu", name) for name in REHEARSED),
    *(pytest.param("cuda", name, marks=GPU) for name in METHODS),
]


def on_a_gpu(test):
    for mark in GPU:
        test = mark(test)
    return test


@pytest.fixture(autouse=True)
def full_float32():
    """The sums of both devices then differ by their order alone."""
    with tensor_float_32(False):
        yield


def started(name, device, precision=torch.float32, **more):
    if name in OPTIONAL:
        pytest.importorskip(OPTIONAL[name])
    kind = kind_for(name)
    method = METHODS[name]
    values = {**PARAMS.get(name, {}), **file_for(name, kind), **more}
    params = build_params(method.Params, values, name)
    backbone, cloud = make_backbone(kind), make_backbone(kind)
    backbone.precision = precision
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
        steady = STEADY.get(name, {})
        expected = steps(started(name, "cpu", **steady), "cpu")
        found = steps(started(name, device, **steady), device)
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
    torch.save(park(method.state_dict()), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True, map_location="cpu"))
    assert_equal_states(method.state_dict(), other.state_dict())
    batch = BATCHES[0].to(device)
    outputs = method.step(batch), other.step(batch)
    torch.testing.assert_close(*outputs, rtol=1e-3, atol=1e-3)
    method.reset()
    assert_equal_states(initial, method.state_dict())


# Of the small networks: float16 and bfloat16 keep three and two digits.
PRECISIONS = {
    "tf32": (torch.float32, 0.02),
    "bf16": (torch.bfloat16, 0.15),
    "fp16": (torch.float16, 0.05),
}
HALVES = [
    *(("cpu", name, "bf16") for name in REHEARSED),
    *(pytest.param("cuda", name, kind, marks=GPU) for name in METHODS for kind in PRECISIONS),
]


@pytest.mark.parametrize(("device", "name", "kind"), HALVES)
def test_a_step_with_fewer_digits_is_near_that_in_float32(device, name, kind):
    precision, bound = PRECISIONS[kind]
    batch = BATCHES[0].to(device)
    steady = STEADY.get(name, {})
    expected = started(name, device, **steady).step(batch).clone()
    with tensor_float_32(kind == "tf32"):
        found = started(name, device, precision, **steady).step(batch)
    assert found.dtype == torch.float32
    assert float((found - expected).abs().max()) < bound * float(expected.abs().max())


DENSE = [
    ("cpu", "bn_alpha"),
    *(pytest.param("cuda", name, marks=GPU) for name in dense_methods()),
]


def segmenting(name, device):
    kind = METHODS[name]
    values = {**dense_defaults(kind), **DENSE_PARAMS.get(name, PARAMS.get(name, {}))}
    made = kind(
        make_backbone("segmenting").to(device), build_params(kind.Params, values, name), seed=7
    )
    data = RandomMaps(12, ("source",))
    made.start(SourceData(data, 6, seed=3, device=torch.device(device)))
    return made


@pytest.mark.parametrize(("device", "name"), DENSE)
def test_maps_of_classes_are_those_of_the_cpu(device, name):
    with host_draws():
        expected, found = (steps(segmenting(name, place), place) for place in ("cpu", device))
    for here, there, bound in zip(expected, found, (1e-3, 2e-2, 2e-2), strict=True):
        largest = float(here.abs().max())
        torch.testing.assert_close(there.cpu(), here, rtol=0.0, atol=bound * largest)


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


@pytest.mark.parametrize("locked", [False, True])
@pytest.mark.parametrize("device", ["cpu", ON_CUDA])
def test_images_arrive_whole_though_their_memory_is_used_again(device, locked):
    sent = []
    for number in range(50):
        images = torch.full((3, 2**18), number, dtype=torch.uint8)
        images = images.pin_memory() if device == "cuda" and locked else images
        sent.append(from_host(images, torch.device(device)))
        del images
    assert all(bool((part == number).all()) for number, part in enumerate(sent))


@pytest.mark.parametrize("device", ["cpu", ON_CUDA])
def test_images_that_other_processes_load_are_the_same(device, tmp_path):
    plain, loaded = (
        table(tmp_path / count, device, "--deterministic", "--workers", count) for count in "02"
    )
    assert (plain["correct"] == loaded["correct"]).all()


@pytest.mark.parametrize("device", ["cpu", ON_CUDA])
def test_a_model_of_ones_own_is_adapted_where_it_lies(device):
    model = timm.create_model("test_resnet", num_classes=5).to(device)
    found = []
    for place in ("cpu", device):
        adapted = tta.adapt(copy.deepcopy(model).to(place), "tent", lr=1e-3)
        found.append([adapted(batch.to(place)).cpu() for batch in BATCHES])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0.0, atol=2e-2 * float(one.abs().max()))


@pytest.mark.parametrize("name", CAPTURABLE)
@on_a_gpu
def test_replayed_steps_are_those_of_the_method(name, monkeypatch):
    """Whole batches, a short one, a reset and steps after it; with and without a graph."""
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    with host_draws():
        plain, method = started(name, "cuda"), started(name, "cuda")
        graphs = CapturedSteps(method, {6})
        let_optimizers_be_captured(plain)  # Adam's moments are then corrected alike
        for seed, size in enumerate((6, 6, 6, 6, 2, 6, 6, 0, 6, 6, 6, 6, 6)):
            if size == 0:
                plain.reset()
                let_optimizers_be_captured(plain)
                graphs.reset()
                continue
            images = make_images(size, seed).to("cuda")
            expected, found = plain.step(images), graphs.step(images)
            largest = float(expected.abs().max())
            torch.testing.assert_close(found, expected, rtol=0.0, atol=1e-3 * largest)


@on_a_gpu
def test_steps_are_captured_while_another_thread_locks_memory():
    method, ended = started("tent", "cuda"), threading.Event()

    def lock() -> None:
        size = 1
        while not ended.is_set():
            torch.empty(size).pin_memory()
            size = size * 2 if size < 2**22 else 1

    thread = threading.Thread(target=lock)
    thread.start()
    try:
        for seed in range(8):
            graphs = CapturedSteps(method, {6})
            for _ in range(5):
                assert graphs.step(BATCHES[0].to("cuda")).isfinite().all(), seed
    finally:
        ended.set()
        thread.join()


COMPILED = ("source", "bn_alpha", "tent", "rmt")


@pytest.mark.parametrize(
    ("name", "captures"),
    [(name, captures) for name in COMPILED for captures in {False, METHODS[name].capturable}],
)
@pytest.mark.parametrize("workers", [0, 2])
@on_a_gpu
def test_compiled_runs_have_the_figures_of_plain_ones(
    name, captures, workers, tmp_path, monkeypatch
):
    if not captures:
        monkeypatch.setattr(compiling, "capture_obstacle", lambda experiment: "not here")
    words = {"method": name, "num_samples": 160, "batch_size": 16, "domains": ("contrast",)}
    words |= {"device": "cuda", "set": {"warm_up_samples": 32} if name == "rmt" else {}}
    plain = run(RunConfig(**words, output=str(tmp_path / "plain")))
    words |= {"compile": "default", "workers": workers}
    found = run(RunConfig(**words, output=str(tmp_path / "found")))
    assert found["compile"] == "default"
    assert captures == (compiling.capture_obstacle(build(RunConfig(**words))) is None)
    assert found["passes"] == plain["passes"]
    assert abs(found["mean_error"] - plain["mean_error"]) <= 2 / 160
