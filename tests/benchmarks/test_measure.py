from __future__ import annotations

import sys

import pytest
import torch

from benchmarks.timing.measure import Target, interleave, machine, peak_memory, ratio
from benchmarks.timing.overhead import imports, stub_stream
from benchmarks.timing.subjects import subject


def test_interleave_rotates_and_leaves_the_first_round_out():
    called = []
    calls = {name: lambda name=name: called.append(name) for name in "ab"}
    samples = interleave(calls, rounds=2)
    assert called == ["a", "b", "b", "a", "a", "b"]
    assert [len(taken) for taken in samples.values()] == [2, 2]


def test_interleave_stops_after_its_time_but_measures_once():
    samples = interleave({"a": lambda: None}, rounds=9, seconds=0.0)
    assert len(samples["a"]) == 1


def test_ratio_is_the_median_over_rounds():
    assert ratio({"a": [1.0, 4.0, 9.0], "b": [1.0, 2.0, 3.0]}, "a", "b") == 2.0


@pytest.mark.parametrize(
    ("measured", "verdict"), [(1.0, "met"), (1.1, "missed"), (None, "not measured")]
)
def test_verdict(measured, verdict):
    assert Target("something", 1.0, measured).verdict == verdict


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")
def test_peak_memory():
    def call():
        return sum(float(torch.ones(16 * 2**20).sum()) for _ in range(5))  # 64 MiB each

    call()
    assert 40 < peak_memory(call) < 100


def test_the_machine_is_described_without_its_name():
    assert torch.__version__ in machine()


def test_stub_stream_runs_through_the_loop():
    microseconds, _ = stub_stream(8, 80)
    assert microseconds > 0


def test_imports_of_a_command():
    imported = imports(["-m", "tta.run", "--help"])
    assert {"tta", "argparse"} <= imported
    assert "torch" not in imported


@pytest.mark.parametrize("name", ["cema", "drm", "rmt"])
def test_methods_of_every_need_start(name):
    case = subject("test_resnet", 4)
    assert case.method(name).step(case.images).shape[0] == 4


def test_methods_are_measured_at_full_work():
    case = subject("test_resnet", 4)
    method = case.method("eta")
    before = [parameter.detach().clone() for parameter in method.parameters]
    method.step(case.images)
    assert any(not torch.equal(*pair) for pair in zip(before, method.parameters, strict=True))
