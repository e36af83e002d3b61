"""What protocols add to a record reaches the tables, the page and the pictures."""

from __future__ import annotations

import json

import pytest

from tta.commands.compare import main as compare_main
from tta.commands.plot import main as plot_main
from tta.commands.report import main as report_main
from tta.config import RunConfig
from tta.experiment import run
from tta.reporting.records.soundness import OPTIONAL
from tta.tasks.summary_figures import PROTOCOL_FIGURES

OPTIONS = {
    "dataset": "digits-c",
    "domains": ("fog", "snow"),
    "num_samples": 60,
    "batch_size": 10,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    options = {**OPTIONS, "output": str(folder), "stream_rate": 1.0, "cost": "counted"}
    options |= {"probe": "source", "probe_samples": 30}
    for method in ("source", "tent"):
        run(RunConfig(method=method, **options))
    return folder


def test_a_table_of_its_own(records, capsys):
    assert compare_main([str(records), "--tables", "protocol"], "compare") == 0
    shown = capsys.readouterr().out
    assert "under --stream-rate 1 --cost counted" in shown
    tent = next(line for line in shown.splitlines() if line.startswith("| tent"))
    assert [cell.strip() for cell in tent.split("|")[2:4]] == ["33.33", "3.00"]
    assert "forgotten: points of it lost after the stream" in shown


def test_it_is_there_only_where_a_protocol_has_something_to_say(tmp_path, capsys, records):
    run(RunConfig(method="source", **OPTIONS, output=str(tmp_path)))
    assert compare_main([str(tmp_path)], "compare") == 0
    assert "forgotten" not in capsys.readouterr().out
    assert compare_main([str(records)], "compare") == 0
    assert "forgotten" in capsys.readouterr().out


def test_other_paces_are_other_protocols(records, tmp_path, capsys):
    run(RunConfig(method="source", **OPTIONS, output=str(tmp_path)))
    assert compare_main([str(records), str(tmp_path)], "compare") == 2
    assert "stream rate (1.0 or none)" in capsys.readouterr().err


def test_steps_of_other_costs_are_of_one_protocol(tmp_path, capsys):
    for method, cost in (("source", 1), ("tent", 3)):
        options = {**OPTIONS, "output": str(tmp_path), "stream_rate": 1.0, "cost": cost}
        run(RunConfig(method=method, **options))
    assert compare_main([str(tmp_path), "--tables", "protocol"], "compare") == 0
    assert "| tent" in capsys.readouterr().out


def test_seeds_of_unlike_costs_are_rows_apart(tmp_path, capsys):
    for seed, cost in ((1, 3), (2, 12)):
        options = {**OPTIONS, "output": str(tmp_path), "stream_rate": 1.0, "cost": cost}
        run(RunConfig(method="tent", seed=seed, **options))
    assert compare_main([str(tmp_path), "--tables", "protocol"], "compare") == 0
    shown = capsys.readouterr().out
    assert "tent (cost 3" in shown and "tent (cost 12" in shown


def test_the_page_has_their_columns(records, tmp_path):
    page = tmp_path / "page.html"
    assert report_main([str(records), "-o", str(page)], "report") == 0
    text = page.read_text()
    for header in ("adapted %", "step cost", "forgotten at worst"):
        assert header in text


def test_forgetting_is_drawn(records, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    picture = tmp_path / "forgetting.svg"
    assert plot_main(["forgetting", str(records), "-o", str(picture)], "plot") == 0
    assert "clean images" in picture.read_text()
    run(RunConfig(method="source", **OPTIONS, output=str(tmp_path / "plain")))
    arguments = ["forgetting", str(tmp_path / "plain"), "-o", str(picture)]
    assert plot_main(arguments, "plot") == 2
    assert "run with --probe source" in capsys.readouterr().err


@pytest.mark.parametrize("part", ["pace", "probe"])
def test_a_damaged_part_is_no_figure(records, part):
    summary = json.loads(next(records.glob("**/tent/*/summary.json")).read_text())
    check = OPTIONAL[part]
    assert check(summary[part])
    for name in ("rule", "batches") if part == "pace" else ("start", "after", "positions"):
        for wrong in (None, "x", -1, [2.0, "y"], float("nan")):
            if (part, name, wrong) != ("pace", "rule", "x"):
                assert not check({**summary[part], name: wrong}), (name, wrong)
    assert not check([1])


def test_a_figure_that_is_not_known_is_none():
    bare = {"cost": {}, "samples": 1}
    assert [figure.get(bare) for figure in PROTOCOL_FIGURES] == [None] * len(PROTOCOL_FIGURES)


def test_a_run_that_was_frozen_is_compared_and_drawn(tmp_path, capsys):
    for method in ("source", "tent"):
        options = {**OPTIONS, "output": str(tmp_path), "adapt_samples": 20}
        run(RunConfig(method=method, **options))
    assert compare_main([str(tmp_path)], "compare") == 0
    assert "seen acc. %" in capsys.readouterr().out
    for kind in ("stream", "reliability"):
        assert plot_main([kind, str(tmp_path), "-o", str(tmp_path / "a.svg")], "plot") == 0
    assert report_main([str(tmp_path), "-o", str(tmp_path / "page.html")], "report") == 0
    batches = next(tmp_path.glob("**/tent/*/batches.csv"))
    batches.write_text("".join(batches.read_text().splitlines(keepends=True)[:-1]))
    arguments = ["stream", str(tmp_path), "--methods", "tent", "-o", str(tmp_path / "a.svg")]
    capsys.readouterr()
    assert plot_main(arguments, "plot") == 2
    assert "batches.csv" in capsys.readouterr().err
