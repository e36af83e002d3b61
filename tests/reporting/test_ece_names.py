"""A run has one mean and one pooled calibration error, by the same names wherever they are."""

import csv
import io
import json

import numpy as np
import pytest

from tests.reporting.fake_runs import edit_summary, seal, write_run
from tta.commands.compare import main as compare
from tta.reporting.records.finding import find_runs
from tta.reporting.records.runs import Run
from tta.tasks.calibration import expected_calibration_error
from tta.tasks.metric import RUN_FIGURES

(POOLED,) = [figure for figure in RUN_FIGURES if figure.name == "pooled_ece"]

ROUNDED = 2 / 320
"""Samples are stored in float16: one of 320 may go to the next bin, whose gap moves by 1 / 320."""


@pytest.fixture
def path(tmp_path):
    return write_run(tmp_path, "bn", images=40)


def test_both_are_what_their_names_say(path):
    run = Run.load(path)
    samples, domains = run.samples(), run.summary["domains"]
    pooled = expected_calibration_error(samples.confidence.astype(float), samples.correct)
    assert run.summary["pooled_ece"] == pytest.approx(pooled, abs=ROUNDED)
    assert run.summary["mean_ece"] == np.mean([row["ece"] for row in domains])
    assert run.summary["pooled_ece"] < 0.7 * run.summary["mean_ece"]


def test_every_table_has_both_figures(path, capsys):
    summary = Run.load(path).summary
    shown = {name: f"{100 * summary[name]:.2f}" for name in ("mean_ece", "pooled_ece")}
    assert compare([str(path), "--tables", "cost"]) == 0
    header, _, row = capsys.readouterr().out.splitlines()[:3]
    names, cells = ([cell.strip() for cell in line.split("|")] for line in (header, row))
    cells = dict(zip(names, cells, strict=True))
    assert cells["mean ECE %"] == shown["mean_ece"]
    assert cells["pooled ECE %"] == shown["pooled_ece"]
    assert compare([str(path), "--format", "json"]) == 0
    (method,) = json.loads(capsys.readouterr().out)["tables"][0]["methods"]
    assert compare([str(path), "--format", "csv"]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    for name in shown:
        assert method["figures"][name] == pytest.approx(summary[name], rel=1e-12)
        assert float(row[name]) == pytest.approx(summary[name], rel=1e-12)


def test_the_page_has_both(path, tmp_path):
    from tta.commands.report import main

    summary = Run.load(path).summary
    assert main([str(tmp_path), "-o", str(tmp_path / "a.html")]) == 0
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    for name, heading in (("mean_ece", "mean ECE %"), ("pooled_ece", "pooled ECE %")):
        assert heading in page
        assert f">{100 * summary[name]:.2f}<" in page


def test_records_without_a_pooled_figure_have_it_from_their_samples(path, tmp_path):
    pooled = Run.load(path).summary["pooled_ece"]
    summary = json.loads((path / "summary.json").read_text())
    del summary["pooled_ece"]
    (path / "summary.json").write_text(json.dumps(summary))
    seal(path)
    ((run,), _) = find_runs([tmp_path])
    assert run.figure(POOLED) == pytest.approx(pooled, abs=ROUNDED)
    (path / "samples.npz").unlink()
    assert np.isnan(Run.load(path).figure(POOLED))
    edit_summary(path, pooled_ece=None)
    assert np.isnan(Run.load(path).figure(POOLED))
