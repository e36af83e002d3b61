"""Runs in one table, and runs that do not belong into one."""

import io
import json
import re

import pandas as pd
import pytest

from tests.reporting.fake_runs import edit_summary, write_run
from tta.commands.compare import main
from tta.commands.selection import chosen
from tta.config import RunConfig
from tta.experiment import run
from tta.foundation.errors import UserError
from tta.reporting.records.finding import find_runs


def printed(capsys, *arguments):
    assert main([*map(str, arguments)]) == 0
    return capsys.readouterr().out


def refused(capsys, *arguments):
    assert main([*map(str, arguments)]) == 2
    return capsys.readouterr().err


def cells(line):
    return [cell.strip() for cell in line.split("|")[1:-1]]


def test_methods_by_domains_best_first(tmp_path, capsys):
    options = {"domains": ("contrast", "pixelate"), "num_samples": 40, "output": str(tmp_path)}
    summaries = {name: run(RunConfig(method=name, **options)) for name in ("source", "bn")}
    text = printed(capsys, tmp_path, "--baseline", "source")
    lines = text.splitlines()
    columns = ["method", "predicts", "source data", "seeds", "contrast", "pixelate"]
    columns += ["mean", "pooled", "rank", "difference to source"]
    assert cells(lines[0]) == columns
    best = dict(zip(columns, cells(lines[2]), strict=True))
    assert best["method"] == "bn"
    error = summaries["bn"]["mean_error"]
    assert best["mean"] == f"**{100 * error:.2f}**"
    difference = 100 * (error - summaries["source"]["mean_error"])
    assert best["difference to source"] == f"{difference:+.2f}"
    assert cells(lines[3])[:4] == ["source", "before", "no", "1"]
    assert "images per domain 40; severity 5; batch size 64; reset never" in lines[5]
    cost = next(line for line in lines if line.startswith("| bn ") and "**" not in line)
    assert cells(cost)[1:3] == ["1.00", "0.00"]
    assert "95 % interval" in text


@pytest.fixture
def runs(tmp_path):
    for method, skill in {"bn": 1.0, "<b>x_y</b> & 100%": 0.5}.items():
        write_run(tmp_path, "bn" if method == "bn" else "mine", skill=skill, title=method)
    return tmp_path


def test_accuracy(runs, capsys):
    (bn,) = [line for line in printed(capsys, runs).splitlines() if line.startswith("| bn ")][:1]
    text = printed(capsys, runs, "--metric", "accuracy", "--tables", "errors")
    (flipped,) = [line for line in text.splitlines() if line.startswith("| bn ")]
    first, second = (float(cells(line)[-2]) for line in (bn, flipped))
    assert first + second == pytest.approx(100, abs=0.011)
    text = printed(capsys, runs, "--metric", "accuracy", "--baseline", "bn", "--tables", "errors")
    differences = [cells(line)[-1] for line in text.splitlines()[2:4]]
    assert differences[0] == "+0.00"
    assert differences[1].startswith("-")


def test_latex_and_html_escape_names(runs, capsys):
    latex = printed(capsys, runs, "--format", "latex")
    assert r"$<$b$>$x\_y$<$/b$>$ \& 100\%" in latex
    assert r"\textbf{" in latex
    html = printed(capsys, runs, "--format", "html")
    assert "<b>" not in html
    assert "&lt;b&gt;x_y&lt;/b&gt; &amp; 100%" in html


def test_tables_in_html_say_what_they_show_and_on_what(runs, capsys):
    text = printed(capsys, runs, "--format", "html")
    captions = re.findall("<caption>(.+?)</caption>", text)
    latex = printed(capsys, runs, "--format", "latex")
    assert len(captions) == text.count("<table") == latex.count(r"\caption{") == 3
    assert len(set(captions)) == 3


def test_csv_and_json_hold_fractions(runs, capsys):
    frame = pd.read_csv(io.StringIO(printed(capsys, runs, "--format", "csv")))
    assert frame["mean"].between(0, 1).all()
    assert frame["protocol_dataset"].tolist() == ["random"] * 2
    data = json.loads(printed(capsys, runs, "--format", "json"))
    (table,) = data["tables"]
    assert table["methods"][0]["figures"]["mean"] == frame["mean"][0]
    assert table["methods"][1]["test"]["runs"][0]["p"] < 1e-6
    assert table["methods"][0]["figures"]["std"] is None


def test_unlike_streams_are_refused_or_split(runs, capsys):
    write_run(runs, "bn", batch_size=20)
    error = refused(capsys, runs)
    assert "differ in batch size" in error
    assert "--split" in error
    text = printed(capsys, runs, "--split", "--tables", "errors")
    assert text.count("| method ") == 2


def test_left_out_records_are_named(runs, capsys):
    bad = write_run(runs, "tent")
    (bad / "summary.json").write_text("{")
    assert main([str(runs)]) == 0
    assert f"left out {bad}: " in capsys.readouterr().err
    assert "is damaged" in refused(capsys, bad)


def test_unknown_tables(runs, capsys):
    assert "did you mean 'cost'" in refused(capsys, runs, "--tables", "costs")


def test_doubtful_runs_are_marked_and_the_reason_stands_below(runs, capsys):
    write_run(runs, "tent", warnings=["the source model is at chance"])
    write_run(runs, "sar", nonfinite_weights_after="fog")
    text = printed(capsys, runs)
    assert "| tent (doubtful) " in text
    assert "doubtful: tent (doubtful): the source model is at chance" in text
    assert "doubtful: sar (doubtful): weights not finite after fog" in text
    rows = pd.read_csv(io.StringIO(printed(capsys, runs, "--format", "csv"))).set_index("method")
    assert rows["warnings"]["tent"] == "the source model is at chance"
    assert pd.isna(rows["warnings"]["bn"])
    (table,) = json.loads(printed(capsys, runs, "--format", "json"))["tables"]
    warnings = {row["method"]: row["runs"][0]["warnings"] for row in table["methods"]}
    assert warnings["tent"] == ["the source model is at chance"]
    assert warnings["bn"] == []


def test_a_mark_tells_how_many_runs_it_is_of(tmp_path, capsys):
    for seed in (1, 2, 3):
        warnings = ["odd"] if seed == 2 else []
        write_run(tmp_path, "bn", seed=seed, images=20)
        path = write_run(tmp_path, "tent", seed=seed, images=20)
        edit_summary(path, warnings=warnings)
    assert "tent (doubtful in 1 of 3 runs)" in printed(capsys, tmp_path, "--tables", "cost")


@pytest.mark.parametrize(
    ("recorded", "typed"),
    [
        ("gradual+class_grouped", "class_grouped+gradual"),
        ("class_grouped", "continual+class_grouped"),
        ("gradual_correlated", "continual, correlated+gradual"),
    ],
)
def test_a_filter_finds_a_composed_scenario_in_whatever_order_it_is_typed(
    tmp_path, recorded, typed
):
    names = {"bn": recorded, "source": "continual", "tent": "mixed_domains"}
    for method, scenario in names.items():
        write_run(tmp_path, method, scenario=scenario)
    found = chosen(find_runs([tmp_path])[0], {"scenario": typed})
    expected = {recorded, *(["continual"] if ", " in typed else [])}
    assert {run.summary["scenario"] for run in found} == expected


def test_a_filter_of_unknown_parts_says_so(tmp_path):
    write_run(tmp_path)
    runs, _ = find_runs([tmp_path])
    for typed, message in [("gradul+slots", "unknown part 'gradul'"), ("gradual+slots", "no run")]:
        with pytest.raises(UserError, match=message):
            chosen(runs, {"scenario": typed})


def test_plug_ins_are_told_apart_by_the_method_inside(tmp_path, capsys):
    shared = {"method": "buffer", "domains": ("pixelate",), "num_samples": 20, "batch_size": 20}
    for inside in ({"inner": "sar"}, {"inner": "tent"}, {"inner": "tent", "inner.lr": 0.5}):
        run(RunConfig(set=inside, output=str(tmp_path), **shared))
    lines = printed(capsys, tmp_path).splitlines()[2:5]
    assert sorted(cells(line)[0] for line in lines) == [
        "buffer (inner=sar)",
        "buffer (inner=tent, inner.lr=0.001)",
        "buffer (inner=tent, inner.lr=0.5)",
    ]


def test_runs_whose_parameters_name_other_files_are_rows_of_their_own(tmp_path, capsys):
    for seed, digest in ((1, "a" * 64), (2, "b" * 64), (3, "a" * 64)):
        folder = write_run(tmp_path / str(seed), method="rws", seed=seed)
        edit_summary(folder, params={"signatures": f"{seed}.safetensors"})
        edit_summary(folder, params_files={"signatures": digest})
    rows = [cells(line)[0] for line in printed(capsys, tmp_path).splitlines()[2:4]]
    assert sorted(rows) == [f"rws (signatures={letter * 12})" for letter in "ab"]
