"""The GPU's checks, run on the CPU as far as that goes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
import torch

from benchmarks.timing import gpu, gpu_checks
from benchmarks.timing.gpu_report import Part, Report
from benchmarks.timing.host_draws import host_draws
from benchmarks.timing.subjects import subject

ROOT = Path(__file__).parents[2]
BROKEN = '''
from tta.methods import Method

class Broken(Method):
    """Fails in its first step."""
    name = "broken"

    def step(self, images):
        raise RuntimeError("it broke\\nand this is more")
'''
needs_gpu = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def marked(test):
    for mark in needs_gpu:
        test = mark(test)
    return test


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_it_says_so(capsys):
    assert gpu.main([]) == 2
    assert "needs a CUDA device and there is none here" in capsys.readouterr().err


@pytest.fixture
def broken(tmp_path):
    (tmp_path / "broken.py").write_text(BROKEN)
    return f"{tmp_path / 'broken.py'}:Broken"


def rows_of(text, name):
    return [line for line in text.splitlines() if line.startswith(f"| {name} ")]


def test_a_rehearsal_has_every_part_and_a_row_for_what_failed(broken, tmp_path, capsys):
    methods = ["source", broken, "tent"]
    given = ["--device", "cpu", "--rehearse", "--output", str(tmp_path), "--methods", *methods]
    assert gpu.main(given) == 0
    text = (tmp_path / "cuda_report.md").read_text()
    plan = gpu.rehearsal(torch.device("cpu"), methods)
    titles = [part.title for part in gpu.parts(plan)]
    assert sum(part.share for part in gpu.parts(plan)) <= 1.0
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == titles
    assert "and this is more" not in text
    for name, expected in ((broken, 3), ("tent", 5)):  # that is captured and compiled, too
        assert len(rows_of(text, name)) == expected
    assert all("failed: RuntimeError: it broke" in row for row in rows_of(text, broken))
    assert "0.0e+00" in rows_of(text, "tent")[0]
    assert text in capsys.readouterr().out


def test_a_kill_leaves_what_was_written(tmp_path):
    command = [sys.executable, "benchmarks/cuda.py", "--device", "cpu", "--rehearse"]
    command += ["--output", str(tmp_path), "--methods", "source"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    running = subprocess.Popen(command, cwd=ROOT, env=environment)
    report = tmp_path / "cuda_report.md"
    while not report.exists():
        assert running.poll() is None
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert "## Difference from the CPU" in report.read_text()
    assert rows_of(report.read_text(), "source")


def test_a_part_whose_time_is_over_is_cut_with_a_line_that_says_so(tmp_path):
    def slow():
        time.sleep(0.05)
        return [["a", "done"]]

    units = [("a", slow), ("b", slow), ("c", slow)]
    part, later = (Part(title, ["what", "?"], 0.5, lambda: units) for title in ("P", "Q"))
    report = Report(tmp_path / "some.md", "# T\n", seconds=0.06)
    report.run([part, later])
    text = (tmp_path / "some.md").read_text()
    assert "Cut: the time for this part was over before b, c." in text
    assert len(part.rows) + len(later.rows) < 4
    assert not list(tmp_path.glob("*.part"))


def warning_method(message):
    method = subject("test_resnet", 2).method("source")

    def forward(images):
        warnings.warn(message, stacklevel=2)
        return images.mean((2, 3))

    method.backbone.forward = forward
    return method


def test_places_of_waits_are_in_the_package_and_other_warnings_are_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: 0)
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", lambda mode: None)
    images = torch.zeros(2, 3, 4, 4)
    for message, expected in ((gpu_checks.WAIT, 1), ("something else", 0)):
        method = warning_method(message)
        with gpu_checks._warned_places() as places:
            gpu_checks._three_steps(method, images)
        assert len(places) == expected
        assert all(file.endswith(".py") for file, _ in places)


def test_a_part_can_be_chosen_and_has_all_the_time():
    parts = [Part(title, ["what"], 0.25, list) for title in "PQRS"]
    left = gpu.chosen(parts, [2, 4])
    assert [(part.title, part.share) for part in left] == [("Q", 0.5), ("S", 0.5)]
    assert gpu.chosen(parts, None) == parts


def test_draws_of_a_device_are_those_of_the_host():
    def draws():
        generator = torch.Generator().manual_seed(1)
        mask = torch.empty(4).bernoulli_(0.5, generator=generator)
        return mask, torch.rand(3, generator=generator, device="cpu")

    with host_draws():
        found = draws()
    assert all(torch.equal(*pair) for pair in zip(draws(), found, strict=True))


@marked
def test_the_alpha_bn_forward_is_captured_in_a_cuda_graph():
    case = subject("test_resnet", 4, device="cuda")
    method = case.method("bn_alpha", target_weight=0.3)
    replay = gpu_checks.captured(method, case.images)
    batch = case.images.flip(0)
    torch.testing.assert_close(replay(batch), method.predict(batch))


@marked
@pytest.mark.parametrize("name", ["tent", "rotta", "note", "petta", "rmt", "drm"])
def test_steps_wait_only_where_it_is_documented(name):
    case = subject("test_resnet", 4, device="cuda")
    ((_, _, unexplained),) = gpu_checks.waits(name, case)
    assert unexplained == "-"
