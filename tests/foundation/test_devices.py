"""Names of devices, and which of them there are."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from tta.config import RunConfig
from tta.experiment.parts import choose_device
from tta.foundation.devices import parse_device
from tta.foundation.errors import UserError
from tta.ops.generators import generator_on


@pytest.mark.parametrize("name", ["auto", "cpu", "mps", "cuda", "cuda:0", "cuda:13"])
def test_names(name):
    assert RunConfig(device=name).device == parse_device(f" {name} ") == name


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:01", "cuda:-1", "cuda:x", "cpu:0", 1, None])
def test_no_names(name):
    with pytest.raises(UserError, match="--device takes auto, cpu, mps, cuda or cuda:N"):
        RunConfig(device=name)


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7 + device.index, 0))


@pytest.mark.parametrize(
    ("name", "chosen"),
    [("auto", "cuda:1"), ("cuda", "cuda:1"), ("cuda:0", "cuda:0"), ("cpu", "cpu")],
)
def test_the_current_gpu_unless_another_is_named(two_gpus, name, chosen):
    assert str(choose_device(name)) == chosen


def test_a_device_that_is_not_there_is_refused_with_those_that_are(two_gpus, monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UserError, match="cuda:2 is not available.* cuda:0 and cuda:1 and cpu$"):
        choose_device("cuda:2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("cuda", "cuda:0", "mps"):
        with pytest.raises(UserError, match=f"--device {name} is not available here; there is cpu"):
            choose_device(name)


def test_tf32_is_refused_where_it_has_no_effect(two_gpus):
    assert str(choose_device("cuda:1", "tf32")) == "cuda:1"
    for name in ("cuda:0", "cpu"):  # the first is older than Ampere
        with pytest.raises(UserError, match=f"tf32 would have no effect on {name}.*--precision"):
            choose_device(name, "tf32")
    for name in ("cpu", "mps"):
        with pytest.raises(UserError, match="tf32 would have no effect"):
            RunConfig(device=name, precision="tf32")


@pytest.mark.parametrize(
    "options", [["--device", "cuda:two"], ["--device", "cpu", "--precision", "tf32"]]
)
def test_what_cannot_be_is_refused_before_torch_is_imported(options):
    code = (
        "import sys; from tta.run import main; status = main(sys.argv[1:]);"
        "assert 'torch' not in sys.modules; sys.exit(status)"
    )
    command = [sys.executable, "-c", code, *options]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert (answer.returncode, answer.stderr.count("\n")) == (2, 1), answer.stderr


def test_draws_do_not_depend_on_the_number_of_the_device(monkeypatch):
    seeds = []

    class Recorded:
        def __init__(self, device):
            self.device = device

        def manual_seed(self, seed):
            seeds.append(seed)
            return self

    drawing = torch.Generator().manual_seed(7)
    start = drawing.get_state()
    monkeypatch.setattr(torch, "Generator", Recorded)
    for number in range(3):
        drawing.set_state(start)
        device = torch.device("cuda", number)
        assert generator_on(device, drawing).device == device
    assert len(set(seeds)) == 1
