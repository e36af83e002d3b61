"""Tables on terminals: as wide as those, with every figure; in files and pipes whole."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

import pytest

from tests.reporting.fake_runs import write_run
from tta.commands.compare import main as compare
from tta.corruptions import CORRUPTIONS
from tta.foundation.terminal import columns, output_width, wrapped
from tta.reporting.folding import folded
from tta.reporting.run_report import run_report
from tta.reporting.tables import markdown

WIDTHS = (60, 80, 100)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Return the runs of three methods on 15 domains, one with a long label."""
    folder = tmp_path_factory.mktemp("runs")
    for method, skill in (("source", 0.3), ("tent", 0.8), ("rmt", 1.0)):
        write_run(folder, method, skill=skill, domains=CORRUPTIONS, images=20)
    params = {"lr": 0.001, "momentum": 0.9, "weight_decay": 0.1}
    write_run(folder, "tent", skill=0.9, domains=CORRUPTIONS, images=20, params=params)
    return folder


def printed(capsys, *arguments):
    assert compare([*map(str, arguments)]) == 0
    return capsys.readouterr().out


def cells(line):
    return [cell.strip() for cell in line.split("|")[1:-1]]


def tables(text):
    """Return the tables of a text: header and rows of each."""
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    return [[cells(line) for line in block if not set(line) <= set("|-: ")] for block in blocks]


@pytest.mark.parametrize("width", WIDTHS)
def test_no_line_is_wider_and_no_figure_is_lost(runs, capsys, monkeypatch, width):
    command = (runs, "--methods", "source,tent,rmt", "--baseline", "source")
    whole = printed(capsys, *command)
    monkeypatch.setenv("COLUMNS", str(width))
    text = printed(capsys, *command)
    assert max(map(len, text.splitlines())) <= width
    for table in tables(whole):
        for number, name in enumerate(table[0]):
            if number and name != "difference to source":
                column = [row[number] for row in table]
                assert any(
                    name in folded_table[0]
                    and [value for value in by_name(folded_table, name) if value] == column
                    for folded_table in tables(text)
                ), name
    assert "".join(whole.split("|")[-1].split()) in "".join(text.split())
    assert printed(capsys, *command, "--wide") == whole


def by_name(table, name):
    number = table[0].index(name)
    return [row[number] for row in table]


def test_mean_pooled_and_rank_come_first_and_domains_in_order(runs, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    found = tables(printed(capsys, runs, "--tables", "errors"))
    assert all(table[0][0] == "method" for table in found)
    assert found[0][0][1:4] == ["mean", "pooled", "rank"]
    shown = [name for table in found for name in table[0][1:]]
    assert tuple(shown[shown.index("gaussian_noise") :]) == CORRUPTIONS


def test_domains_called_like_another_column_take_no_place_of_it(tmp_path, capsys, monkeypatch):
    domains = ("method", "seeds", "mean", "rank")
    write_run(tmp_path, "bn", domains=domains, images=10)
    header = tables(printed(capsys, tmp_path, "--tables", "errors"))[0][0]
    assert header[:4] == ["method", "predicts", "source data", "seeds"]
    assert header[4:] == [*(f"domain {name}" for name in domains), "mean", "pooled", "rank"]
    monkeypatch.setenv("COLUMNS", "60")
    shown = [table[0] for table in tables(printed(capsys, tmp_path, "--tables", "errors"))]
    assert sorted({name for names in shown for name in names}) == sorted(header)


@pytest.mark.parametrize("form", ["latex", "html", "csv", "json"])
def test_other_formats_are_the_same_everywhere(runs, capsys, monkeypatch, form):
    whole = printed(capsys, runs, "--format", form)
    monkeypatch.setenv("COLUMNS", "80")
    assert printed(capsys, runs, "--format", form) == whole


def test_what_fits_is_not_folded(runs, capsys, monkeypatch):
    whole = printed(capsys, runs, "--tables", "errors")
    monkeypatch.setenv("COLUMNS", "1000")
    assert tables(printed(capsys, runs, "--tables", "errors")) == tables(whole)


def test_cells_and_headers_that_are_too_wide_are_wrapped():
    header = ["method", "one_domain " * 12, "n"]
    rows = [["tent (" + "lr=0.001, " * 12 + ")", "1.00", "2"], ["x" * 200, "a|b <i>", "3"]]
    text = folded(header, rows, 60)
    assert max(map(len, text.splitlines())) <= 60
    assert text.count("one_domain") == 12 and text.count("lr=0.001") == 12
    assert text.count("x") == 200
    assert "a\\|b \\<i>" in text
    assert folded(["a", "b"], [["1", "2"]], 60) == markdown(["a", "b"], [["1", "2"]])
    assert folded(["method", "b" * 60], [], 60).count("b") == 60


def summary(visits, counters=()):
    rows = [
        {"domain": domain, "severity": severity, "samples": 10, "accuracy": 1 - error}
        | {"error": error, "upload_fraction": 0.5, **dict.fromkeys(counters, 5)}
        for domain, severity, error in visits
    ]
    totals = {name: 5 * len(rows) for name in counters}
    facts = dict.fromkeys(["method", "dataset", "scenario", "backbone", "predicts", "preset"], "x")
    cost = {"images_per_second": 1.0, "peak_memory_bytes": 0}
    cost |= {"prepare_seconds": 0.0, "stream_seconds": 0.0}
    return facts | {
        "domains": rows,
        "counters": totals,
        "upload_fraction": 0.5,
        "samples": 10 * len(rows),
        "mean_error": sum(row["error"] for row in rows) / len(rows),
        "mean_accuracy": sum(row["accuracy"] for row in rows) / len(rows),
        "pooled_error": 0.25,
        "cost": cost,
        "cloud_backbone": None,
        "batch_size": 10,
        "seed": 1,
        "stream_digest": "s" * 64,
        "weights_sha256": "w" * 64,
        "path": "results/" + "long/" * 30,
        "reused": False,
    }


def test_a_terminal_shows_one_row_for_the_visits_of_a_domain():
    visits = [
        (domain, severity, severity / 10)
        for domain in CORRUPTIONS
        for severity in (1, 2, 3, 4, 5, 4, 3, 2, 1)
    ]
    whole = run_report(summary(visits, ["uploads"]), "error")
    assert len(tables(whole)[0]) == 1 + 135 + 2 and "--wide" not in whole
    text = run_report(summary(visits, ["uploads"]), "error", 100)
    (table,) = tables(text)
    assert len(table) == 1 + 15 + 2
    fog = next(row for row in table if row[0] == "fog")
    assert fog == ["fog", "1–5", "90", "72.22", "27.78", "45", "50.00"]
    assert table[-2:] == tables(whole)[0][-2:]
    assert "--wide shows all 135 of them" in text


def test_counters_that_find_no_room_stand_below():
    names = ["uploads", "uplink_bytes", "downlink_bytes", "refreshes", "edge_steps"]
    text = run_report(summary([("fog", 5, 0.5), ("snow", 5, 0.1)], names), "error", 70)
    found = tables(text)
    assert len(found) > 1 and {table[0][0] for table in found} == {"domain"}
    assert [name for table in found for name in table[0]].count("edge steps") == 1
    assert max(len(line) for line in text.splitlines() if line.startswith("|")) <= 70
    assert "--wide" not in text


def test_the_width_is_that_of_the_terminal(monkeypatch):
    assert output_width() is None
    for value, width in (("80", 80), ("20", 60), ("0", None), ("many", None), ("", None)):
        monkeypatch.setenv("COLUMNS", value)
        assert output_width() == width


def test_on_a_terminal_tables_are_folded(runs):
    code = "import sys; from tta.commands.compare import main; sys.exit(main(sys.argv[1:]))"
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 90, 0, 0))
    command = [sys.executable, "-c", code, str(runs), "--tables", "errors"]
    with subprocess.Popen(command, stdout=theirs) as process:
        os.close(theirs)
        text = b""
        while part := _read(ours):
            text += part
    os.close(ours)
    assert process.returncode == 0
    assert 80 < max(map(len, text.decode().splitlines())) <= 90


def _read(descriptor):
    try:
        return os.read(descriptor, 65536)
    except OSError:  # the other end is closed
        return b""


def test_columns_of_text():
    assert columns([], 80) == []
    assert columns([("a", "1", "x y"), ("bcd", "22", "")], 80) == ["a    1   x y", "bcd  22"]
    lines = columns([("a", "word " * 30), ("n" * 50, "last")], 60)
    assert max(map(len, lines)) <= 60 and lines[-2:] == ["n" * 50, " " * 22 + "last"]
    assert wrapped("", 10) == "" and wrapped("one-two three", 8) == "one-two\nthree"
