"""Which runs are shown: the same filters in compare, plot and report."""

import json

import pytest

from tests.reporting.fake_runs import write_run
from tta.commands.compare import main as compare
from tta.commands.plot import main as plot
from tta.commands.report import main as report


@pytest.fixture
def runs(tmp_path):
    folder = tmp_path / "runs"
    shared = {"images": 20, "domains": ("a", "b")}
    for method in ("bn", "tent"):
        write_run(folder, method, **shared)
        write_run(folder, method, dataset="arrays:x,y.npz", data_digest="e" * 64, **shared)
        write_run(folder, method, scenario="mixed", **shared)
    write_run(folder, "mine", title="Mine*", **shared)
    return folder


def labels(capsys, *arguments):
    assert compare([*map(str, arguments), "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)["tables"]
    return [[method["label"] for method in table["methods"]] for table in found]


def refused(capsys, command, *arguments):
    assert command([*map(str, arguments)]) == 2
    return capsys.readouterr().err


def test_compare(runs, capsys):
    first = ["--dataset", "random", "--scenario", "continual"]
    assert sorted(labels(capsys, runs, *first)[0]) == ["Mine*", "bn", "tent"]
    assert labels(capsys, runs, *first, "--methods", "tent") == [["tent"]]
    assert sorted(labels(capsys, runs, *first, "--methods", "tent, Mine*")[0]) == ["Mine*", "tent"]
    # A name with a comma in it may stand alone.
    assert len(labels(capsys, runs, "--dataset", "arrays:x,y.npz")[0]) == 2
    assert len(labels(capsys, runs, "--methods", "bn", "--split")) == 3


@pytest.mark.parametrize("command", [compare, report, plot])
def test_what_no_run_has_is_refused_with_the_nearest(runs, tmp_path, capsys, command):
    given = [runs] if command is compare else [runs, "-o", tmp_path / "a.svg"]
    given = ["heatmap", *given] if command is plot else given
    if command is not compare:
        pytest.importorskip("matplotlib")
    assert "did you mean 'tent'" in refused(capsys, command, *given, "--methods", "tend")
    assert "did you mean 'random'" in refused(capsys, command, *given, "--dataset", "randm")
    error = refused(capsys, command, *given, "--scenario", "nothing-like-it")
    assert "known: continual, mixed" in error
    both = ["--dataset", "arrays:x,y.npz", "--scenario", "mixed"]
    assert "no run has all of" in refused(capsys, command, *given, *both)


def test_plot_draws_a_picture_of_each_protocol(runs, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    file = tmp_path / "a.svg"
    given = ["heatmap", runs, "-o", file, "--methods", "bn"]
    assert "--split" in refused(capsys, plot, *given)
    assert plot([*map(str, given), "--split"]) == 0
    assert sorted(path.name for path in tmp_path.glob("*.svg")) == [
        f"a-{number}.svg" for number in (1, 2, 3)
    ]
    assert plot([*map(str, given), "--split", "--scenario", "mixed"]) == 0
    assert file.exists()


def test_report_shows_the_chosen_alone(runs, tmp_path, capsys):
    given = [str(runs), "-o", str(tmp_path / "a.html"), "--methods", "tent"]
    assert report(given) == 0
    assert "runs: 3, tables: 3" in capsys.readouterr().out
