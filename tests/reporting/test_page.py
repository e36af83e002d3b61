"""The report page: what it holds without a browser."""

import html
import json
import os
import re

import pytest

from tests.reporting.fake_runs import seal, write_run
from tta.commands.report import main
from tta.reporting.page.charts import DASHES
from tta.reporting.pictures.marks import COLOURS, LINES, MARKERS, line_styles, marker_styles

HOSTILE = "<img src=x onerror=alert(1)></script><script>boom()</script>"


@pytest.fixture
def page(tmp_path):
    """Return a function that makes the page of the runs below ``tmp_path``."""

    def made(*options):
        file = tmp_path / "report.html"
        assert main([str(tmp_path), "-o", str(file), *options]) == 0
        return file.read_text(encoding="utf-8")

    return made


def drawn(text):
    """Return what the scripts of a page are given."""
    return json.loads(re.search(r'id="data">(.*?)</script>', text).group(1))


def column(text, name):
    """Return the texts of a column of the first table, top down."""
    table = text.split("</table>")[0]
    return re.findall(rf'<td data-column="{name}"[^>]*>([^<]*)</td>', table)


def test_everything_from_records_is_escaped(tmp_path, page):
    path = write_run(tmp_path, "bn", title=HOSTILE, domains=("a", HOSTILE), preset=HOSTILE)
    (path / "config.yaml").write_text(f"method: '{HOSTILE}'")
    seal(path)
    text = page("--title", HOSTILE)
    assert html.escape(HOSTILE) in text
    assert "boom()" in text
    assert "<img" not in text.split("<script", 1)[0]
    assert "<script>boom()" not in text
    data = re.search(r'id="data">(.*?)</script>', text).group(1)
    assert "<" not in data
    assert "boom" in data


def test_one_small_file_without_network(tmp_path, page):
    write_run(tmp_path, "bn")
    text = page()
    assert "default-src 'none'" in text
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=[\"'](?!data:|#)", text)
    assert len(text) < 100_000


def test_a_missing_table_costs_the_curve_and_a_damaged_one_the_record(tmp_path, page, capsys):
    write_run(tmp_path, "bn")
    cut = write_run(tmp_path, "tent")
    (cut / "batches.csv").write_text("position,domain\n0,")
    (write_run(tmp_path, "eata") / "batches.csv").unlink()
    newer = write_run(tmp_path, "rmt")
    (newer / "summary.json").write_text('{"schema": 7}')
    text = page()
    assert "No curve:" in text
    assert "Left out" in text
    assert "(but 7)" in text
    assert "runs: 2, tables: 1" in capsys.readouterr().out


def test_unlike_protocols_get_sections_whose_titles_say_what_differs(tmp_path, page):
    write_run(tmp_path, "bn")
    write_run(tmp_path, "bn", batch_size=20)
    text = page("--metric", "accuracy")
    titles = re.findall(r'<h2 id="title-\w+">(.*?)</h2>', text)
    assert sorted(titles) == [f"random, continual, net, batch size {size}" for size in (10, 20)]
    assert 'mean <span class="metric">accuracy</span> %' in text
    assert len(drawn(text)["sections"]) == 2


def test_both_figures_of_a_rate_are_there(tmp_path, page):
    write_run(tmp_path, "bn")
    rates = re.findall(r'data-error="([\d.]+)" data-accuracy="([\d.]+)">([\d.]+)<', page())
    assert len(rates) == 10  # the mean, eight domains, pooled
    for error, accuracy, shown in rates:
        assert float(error) + float(accuracy) == pytest.approx(100, abs=0.011)
        assert shown == error


def test_tests_are_against_the_best_or_the_baseline(tmp_path, page):
    for method, skill in {"bn": 1.0, "tent": 1.5, "rmt": 2.0}.items():
        write_run(tmp_path, method, skill=skill)
    text = page()
    assert "p-values: against rmt;" in text
    assert column(text, "p_mcnemar") == ["–", "&lt;0.001", "&lt;0.001"]
    assert [value[0] for value in column(text, "difference")] == ["–", "+", "+"]
    text = page("--baseline", "tent")
    assert "p-values: against tent;" in text
    assert [value[0] for value in column(text, "difference")] == ["-", "–", "+"]


def test_when_runs_were_written(tmp_path, page):
    path = write_run(tmp_path, "bn")
    os.utime(path / "summary.json", (0, 86400))
    assert column(page(), "written") == ["1970-01-02 00:00"]


def test_marks_and_warnings_are_shown(tmp_path, page):
    write_run(tmp_path, "bn", skill=3.0)
    write_run(tmp_path, "tent", skill=2.0, collapsed_at_batch=3)
    write_run(tmp_path, "rmt", skill=1.0, warnings=["<b>at chance</b>"])
    write_run(tmp_path, "eata", skill=0.1, diverged=True)
    text = page()
    assert column(text, "marks") == ["", "collapsed", "doubtful", "not finite"]
    assert text.count("&lt;b&gt;at chance&lt;/b&gt;") == 2  # below the table and in the details
    (section,) = drawn(text)["sections"].values()
    assert [method["nonfinite_at"] for method in section["methods"]] == [None, None, None, 160]


def test_marks_are_those_of_pictures(tmp_path, page):
    methods = ("bn", "tent", "rmt", "source", "mine")
    for method in methods:
        write_run(tmp_path, method, images=20)
    (section,) = drawn(page())["sections"].values()
    lines = line_styles({name: name for name in methods})
    markers = marker_styles({name: name for name in methods})
    assert DASHES.keys() == set(LINES)
    for method in section["methods"]:
        name, style = method["label"], method["style"]
        assert (style["color"] or "#000000") == lines[name]["color"]
        assert style["dash"] == DASHES[lines[name]["linestyle"]]
        assert style["marker"] == markers[name]["marker"]


def test_every_marker_can_be_drawn(tmp_path, page):
    write_run(tmp_path, "bn", images=20)
    known = re.search(r"const MARKERS = \{(.*?)\n\};", page(), re.DOTALL).group(1)
    assert re.findall(r'^\s*"?([^":\s]+)"?:', known, re.MULTILINE) == list(MARKERS)
    assert "#000000" in COLOURS  # which the page shows in its ink


def test_bad_input(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert "holds no run" in capsys.readouterr().err
    write_run(tmp_path, "bn")
    (tmp_path / "file").touch()
    assert main([str(tmp_path), "-o", str(tmp_path / "file" / "a.html")]) == 2
    assert "cannot write" in capsys.readouterr().err
    assert main([str(tmp_path), "--baseline", "tent"]) == 2
    assert "--baseline 'tent' is not among the runs" in capsys.readouterr().err
