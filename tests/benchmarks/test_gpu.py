"""The GPU's checks, run on the CPU as far as that goes."""

from __future__ import annotations

import re

import pytest
import torch

from benchmarks.timing import gpu
from benchmarks.timing.subjects import subject

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_it_says_so(capsys):
    assert gpu.main() == 2
    assert "needs a CUDA device and there is none here" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:cema with statistics")
def test_the_report_without_a_gpu(monkeypatch):
    monkeypatch.setattr(gpu, "METHODS", ["source", "bn_alpha", "tent"])
    monkeypatch.setattr(
        gpu, "interleave", lambda calls, **_: {n: [(c(), 1.0)[1]] for n, c in calls.items()}
    )
    text = gpu.report(torch.device("cpu"), (("test_resnet", 3),))
    assert re.search(r"\| tent +\| 0\.0e\+00 +\| 0\.0e\+00 +\|", text)
    assert "## Steps: test_resnet" in text


@needs_gpu
def test_the_alpha_bn_forward_is_captured_in_a_cuda_graph():
    case = subject("test_resnet", 4, device="cuda")
    method = case.method("bn_alpha", target_weight=0.3)
    replay = gpu.captured(method, case.images)
    batch = case.images.flip(0)
    torch.testing.assert_close(replay(batch), method.predict(batch))


@needs_gpu
def test_steps_do_not_wait_for_the_gpu():
    case = subject("test_resnet", 4, device="cuda")
    for name, found, documented in gpu.waits(case):
        assert found == "none" or documented != "-", name
