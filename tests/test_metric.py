"""A metric is declared in one place, and everything that shows figures iterates."""

import csv
import dataclasses
import io
import re
from pathlib import Path

import numpy as np
import pytest

from tests.reporting.fake_runs import write_run
from tta.commands.compare import main as compare
from tta.reporting.records.runs import Run
from tta.tasks.metric import METRICS, RUN_FIGURES, SAMPLE_COLUMNS

PACKAGE = Path(__file__).parents[1] / "tta"


@pytest.mark.parametrize("name", [m.name for m in METRICS if m.name not in ("error", "accuracy")])
def test_its_name_is_spelt_where_it_is_declared_and_measured_alone(name):
    quoted = re.compile(rf"""["'](mean_|pooled_)?{name}["']""")
    files = [file for file in PACKAGE.rglob("*.py") if quoted.search(file.read_text())]
    assert {file.relative_to(PACKAGE).as_posix() for file in files} <= {"tasks/metric.py"}


def test_every_figure_is_in_summary_tables_and_csv(tmp_path, capsys):
    path = write_run(tmp_path, "bn", images=20)
    summary = Run.load(path).summary
    assert all(figure.name in summary for figure in RUN_FIGURES)
    assert all(metric.name in summary["domains"][0] for metric in METRICS)
    assert compare([str(path), "--tables", "cost"]) == 0
    text = capsys.readouterr().out
    for figure in RUN_FIGURES:
        factor = 100 if figure.metric.percent else 1
        assert f" {figure.header} " in text
        assert f"{factor * summary[figure.name]:.{figure.metric.digits}f}" in text
    assert compare([str(path), "--format", "csv"]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    for figure in RUN_FIGURES:
        assert float(row[figure.name]) == pytest.approx(summary[figure.name], rel=1e-12)


def test_aggregates_are_those_of_their_meaning():
    columns = ([1.0, 0.0], [0.9, 0.6], [0.1, 2.0], [0.02, 1.2])
    samples = dict(zip(SAMPLE_COLUMNS, map(np.array, columns), strict=True))
    found = {metric.name: metric.aggregate(samples) for metric in METRICS}
    expected = {"accuracy": 0.5, "error": 0.5, "ece": 0.35, "nll": 1.05, "brier": 0.61}
    assert found == pytest.approx(expected)
    assert all(dataclasses.is_dataclass(metric) and metric.meaning for metric in METRICS)
