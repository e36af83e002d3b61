"""Batches of few classes: the authors' worked example, and that each is a task of its own."""

from pathlib import Path

import numpy as np
import pytest

from tests.fakes import RandomImages
from tta.commands.compare import main as compare
from tta.config import RunConfig
from tta.experiment import run
from tta.foundation.errors import UserError
from tta.reporting.records.runs import Run
from tta.reporting.run_report import run_report
from tta.streams import ScenarioOptions, plan_stream
from tta.streams.few_classes import draw_task
from tta.streams.stream import batch_edges
from tta.tasks.over_tasks import accuracy_over_tasks

DATA = RandomImages(size=50)
MEMBERS = {label: np.arange(6 * label, 6 * label + 6) for label in range(5)}


def plan(**options):
    return plan_stream("few_classes_per_batch", DATA, ScenarioOptions(**{"tasks": 30, **options}))


def test_the_task_of_the_worked_example():
    rows = draw_task(MEMBERS, 2, 8, np.random.RandomState(0))
    assert rows.tolist() == [16, 2, 3, 12, 17, 13, 14, 0]


def test_all_images_are_shown_where_there_are_no_more_than_a_batch():
    rows = draw_task(MEMBERS, 2, 64, np.random.default_rng(0))
    assert len(set(rows.tolist())) == 12
    assert sorted(draw_task(MEMBERS, 5, 64, np.random.default_rng(0))) == list(range(30))


@pytest.mark.parametrize("contiguous", [False, True])
def test_every_batch_is_a_task_before_which_the_method_is_reset(contiguous):
    made = plan(batch_size=12, classes_per_batch=(1, 3))
    edges = batch_edges(made, 12, contiguous)
    assert len(edges) == 3 * 30 + 1
    assert np.flatnonzero(made.reset_before).tolist() == edges[:-1].tolist()
    counts = {len(set(made.index[a:b] % 5)) for a, b in zip(edges[:-1], edges[1:], strict=True)}
    assert counts == {1, 2, 3}
    sizes = np.diff(edges)
    assert set(sizes) == {10, 12}  # 10 images of one class
    for first, last in zip(edges[:-1], edges[1:], strict=True):
        assert len(set(made.index[first:last])) == last - first


def test_figures_are_those_of_domains():
    made = plan()
    assert np.array_equal(made.visit, made.domain)


def test_accuracy_over_tasks_weighs_tasks_alike():
    found = accuracy_over_tasks(np.array([1, 1, 1, 0, 1]), np.array([4, 4, 4, 9, 9]))
    assert found == {"count": 2, "mean_accuracy": 0.75}
    assert accuracy_over_tasks(np.zeros(0), np.zeros(0, int))["mean_accuracy"] is None


def test_a_run_tells_the_mean_over_tasks(tmp_path):
    options = {"domains": ("fog",), "num_samples": 40, "tasks": 5, "output": str(tmp_path)}
    options |= {"scenario": "few_classes_per_batch", "batch_size": 7}
    summary = run(RunConfig(**options))
    batches = Run.load(Path(summary["path"])).batches()
    assert batches["size"].nunique() > 1
    mean = (batches["correct"] / batches["size"]).mean()
    assert summary["tasks"] == {"count": 5, "mean_accuracy": pytest.approx(mean)}
    assert f"accuracy over 5 tasks: {100 * mean:.2f} %" in run_report(summary, "error")
    assert compare([str(tmp_path), "--format", "csv"]) == 0
    assert "tasks" not in run(RunConfig(**{**options, "scenario": "continual"}))


def test_more_classes_than_there_are_are_refused():
    with pytest.raises(UserError, match="asks for more classes than the 5"):
        plan(classes_per_batch=(2, 6))


@pytest.mark.parametrize("value", ["0,3", "4,1", "1,2,3", "x", "1.5", True, [1, "2,3"]])
def test_what_is_no_range_of_classes_is_refused(value):
    with pytest.raises(UserError, match="--classes-per-batch takes"):
        RunConfig(classes_per_batch=value)


def test_forms_of_one_range_are_equal():
    forms = ("2,5", [2, 5], (2, 5), " 2, 5 ")
    assert {RunConfig(classes_per_batch=form).classes_per_batch for form in forms} == {(2, 5)}
    assert RunConfig(classes_per_batch=3).classes_per_batch == (3, 3)
