import sys

import pytest
import torch

from tta.config import RunConfig
from tta.experiment import run
from tta.experiment.observing import course as recording
from tta.experiment.observing.memory import PeakMemory, held_bytes
from tta.experiment.saving import checkpoints as checkpoint

MIB = 2**20


ONE_CLASS = '''
from tta.methods import Method


class OneClass(Method):
    """Predicts one class from the third batch on."""

    name = "one_class"
    state = ("steps",)

    def configure(self):
        self.steps = 0

    def step(self, images):
        self.steps += 1
        logits = self.predict(images)
        logits[:, 0] += 100.0 * (self.steps > 2)
        return logits
'''


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is set back on Linux alone")
def test_the_peak_is_that_since_the_start():
    held = torch.ones(64 * MIB, dtype=torch.uint8)
    before = PeakMemory(torch.device("cpu"))
    assert before.rise() < 8 * MIB
    more = torch.ones(96 * MIB, dtype=torch.uint8)
    del more
    peak = before.bytes()
    assert 90 * MIB < before.rise() < 110 * MIB
    after = PeakMemory(torch.device("cpu"))
    assert after.rise() < 8 * MIB
    assert after.bytes() < peak - 80 * MIB
    assert held[0] == 1


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is set back on Linux alone")
def test_what_is_held_in_a_pause_does_not_count():
    memory = PeakMemory(torch.device("cpu"))
    own = torch.ones(32 * MIB, dtype=torch.uint8)
    del own
    before = memory.rise()
    with memory.paused():
        snapshot = torch.ones(128 * MIB, dtype=torch.uint8)
        del snapshot
    assert before <= memory.rise() < before + 8 * MIB
    own = torch.ones(96 * MIB, dtype=torch.uint8)
    assert memory.rise() > 88 * MIB
    assert own[0] == 1


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is set back on Linux alone")
def test_checkpoints_and_the_verdict_are_no_memory_of_a_run(tmp_path, monkeypatch):
    calls = []

    def made_heavy(module, name):
        function = getattr(module, name)

        def heavy(*arguments):
            calls.append(name)
            ballast = torch.ones(512 * MIB, dtype=torch.uint8)
            assert ballast[0] == 1
            return function(*arguments)

        monkeypatch.setattr(module, name, heavy)

    made_heavy(checkpoint, "write_state")
    made_heavy(recording, "initial_predictions")
    (tmp_path / "one.py").write_text(ONE_CLASS)
    collapses = {"method": f"{tmp_path / 'one.py'}:OneClass", "domains": ("fog", "contrast")}
    options = {"num_samples": 320, "batch_size": 32, "checkpoint_every": 10}
    summary = run(RunConfig(**collapses, **options, output=str(tmp_path)))
    assert {"write_state", "initial_predictions"} == set(calls)
    assert summary["cost"]["memory_rise_bytes"] < 256 * MIB


class FakeDevice:
    """Memory of a GPU, or of MPS, that a test takes and gives back."""

    def __init__(self):
        self.held = self.peak = 0

    def take(self, size):
        self.held += size
        self.peak = max(self.peak, self.held)

    def reset(self, device=None):
        self.peak = self.held


@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_a_device_s_peak_counts_what_the_run_took_before(monkeypatch, kind):
    fake, asked = FakeDevice(), []
    monkeypatch.setattr(
        torch.cuda, "memory_allocated", lambda device: asked.append(device) or fake.held
    )
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: fake.peak)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", fake.reset)
    monkeypatch.setattr(torch.mps, "current_allocated_memory", lambda: fake.held)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: fake.peak)
    monkeypatch.setattr(torch.mps, "empty_cache", fake.reset)
    device = torch.device(kind, 1 if kind == "cuda" else 0)
    fake.take(10)  # the model as loaded
    before = held_bytes(device)
    fake.take(400)  # a teacher
    own = held_bytes(device) - before
    memory = PeakMemory(device, own)
    fake.take(6)
    with memory.paused():
        fake.take(1000)
        fake.take(-1000)
    fake.take(-6)
    assert memory.rise() == 406
    assert memory.bytes() == 416
    assert all(one == device for one in asked)
