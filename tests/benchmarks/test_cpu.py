from __future__ import annotations

import json

import pytest

from benchmarks.timing import cpu
from benchmarks.timing.subjects import subject


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(cpu, "METHODS", ["source", "bn", "tent"])
    monkeypatch.setattr(cpu, "STEP_NETS", (("test_resnet", 8, 1), ("test_vit", 8, 1)))


def test_steps_of_every_method_that_a_network_suits(small):
    section = cpu.steps()
    rows = {row[0]: row[1:] for row in section.rows}
    assert float(rows["source"][0].split()[0]) > 0
    assert rows["bn"][1] == "-"  # a ViT has no batch norm
    assert rows["tent"][1] != "-"


def test_the_error_of_the_oracle_is_seen():
    case, off = subject("test_resnet", 4), subject("test_resnet", 4)
    off.backbone.classifier.bias.data += 0.1
    exact, wrong = cpu.oracle_errors([case, off], target_weight=0.3)
    assert exact < 1e-5
    assert wrong > 1e-3


def test_the_report_shows_each_target(monkeypatch):
    def section():
        made = cpu.Section("Some", ["a"], [["b"]])
        made.targets.append(cpu.Target("something", 1.0, 2.0))
        return made

    monkeypatch.setattr(cpu, "SECTIONS", {"some": section})
    text = cpu.report(["some"])
    assert "| something |       1 |        2 | missed |" in " ".join(text.split("\n"))
    assert "## Some" in text


def test_the_profile_is_a_trace(monkeypatch, tmp_path):
    monkeypatch.setattr(cpu, "OUTPUT", tmp_path / "speed.md")
    monkeypatch.setattr(cpu, "subject", lambda *_: subject("test_resnet", 2))
    assert json.loads(cpu.write_trace("bn").read_text())["traceEvents"]
