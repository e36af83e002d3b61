"""The report page: what it holds without a browser."""

import html
import re

import pytest

from tests.reporting.fake_runs import seal, write_run
from tta.commands.report import main

pytest.importorskip("plotly", reason="the page needs plotly (extra `report`)")

HOSTILE = "<img src=x onerror=alert(1)></script><script>boom()</script>"


@pytest.fixture
def page(tmp_path):
    """Return a function that makes the page of the runs below ``tmp_path``."""

    def made(*options):
        file = tmp_path / "report.html"
        assert main([str(tmp_path), "-o", str(file), *options]) == 0
        return file.read_text(encoding="utf-8")

    return made


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


def test_one_file_without_network(tmp_path, page):
    write_run(tmp_path, "bn")
    text = page()
    assert "default-src 'none'" in text
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=[\"'](?!data:|#)", text)


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


def test_unlike_protocols_get_sections(tmp_path, page):
    write_run(tmp_path, "bn")
    write_run(tmp_path, "bn", batch_size=20)
    text = page("--metric", "accuracy")
    assert text.count("<section data-section") == 2
    assert "mean accuracy %" in text


def test_bad_input(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert "holds no run" in capsys.readouterr().err
    write_run(tmp_path, "bn")
    (tmp_path / "file").touch()
    assert main([str(tmp_path), "-o", str(tmp_path / "file" / "a.html")]) == 2
    assert "cannot write" in capsys.readouterr().err


def test_without_plotly(tmp_path, monkeypatch, capsys):
    write_run(tmp_path, "bn")
    monkeypatch.setitem(__import__("sys").modules, "plotly.offline", None)
    assert main([str(tmp_path), "-o", str(tmp_path / "a.html")]) == 2
    assert "pip install" in capsys.readouterr().err
