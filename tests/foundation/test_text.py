"""Text of others: names of methods, data sets and domains that a terminal or program obeys."""

import csv
import io
import json
from importlib.resources import files

import numpy as np
import pandas as pd
import pytest

from tests.reporting.fake_runs import write_run
from tta.commands.compare import main as compare
from tta.commands.run import main as run
from tta.foundation.text import csv_cell, from_csv_cell, markdown_text, printable, printable_lines
from tta.reporting.records.finding import find_runs
from tta.reporting.tables import markdown

ESCAPE = "\x1b[2Jgone\x9b31m\r\u202eeman"
FORMULA = "=HYPERLINK(1)"
LINK = "<img src=x onerror=a()> [here](javascript:a()) <javascript:a()>"


def test_what_a_terminal_obeys_is_written_out():
    assert printable("a\x1b[31m\r\n\x00") == r"a\x1b[31m\x0d\x0a\x00"
    assert printable("é – 数 \ud800\u202e") == r"é – 数 \ud800\u202e"
    assert printable_lines("a\x07\nb") == "a\\x07\nb"


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        (" =1", "' =1"),
        ("＝1", "'＝1"),
        ("\t=1", r"\x09=1"),
        ("a\rb", r"a\x0db"),
        ("-5", "-5"),
        ("+1.5e-3", "+1.5e-3"),
        ("plain", "plain"),
        (-5.0, -5.0),
    ],
)
def test_cells_are_no_formulas_and_numbers_stay_numbers(text, cell):
    assert csv_cell(text) == cell
    if isinstance(text, str):
        assert from_csv_cell(csv_cell(text)) == printable(text)


def test_markdown_holds_no_html_and_no_link():
    assert markdown_text(LINK) == (
        r"\<img src=x onerror=a()> [here\](javascript:a()) \<javascript:a()>"
    )
    assert markdown_text(r"a\<b>") == r"a\\\<b>"  # a backslash of theirs does not undo ours
    assert markdown_text("gaussian_noise, p <0.001, lr=[1, 2]") == (
        "gaussian_noise, p <0.001, lr=[1, 2]"
    )
    assert markdown(["a"], [["x|y\n| z |"]]).count("\n") == 2


@pytest.fixture
def hostile(tmp_path):
    facts = {"title": ESCAPE + LINK, "dataset": FORMULA, "backbone": LINK}
    write_run(tmp_path, "bn", images=20, domains=("a", FORMULA, ESCAPE, LINK), **facts)
    return tmp_path


def printed(capsys, *arguments):
    assert compare([*map(str, arguments)]) == 0
    output = capsys.readouterr()
    for sign in ("\x1b", "\x9b", "\r", "\u202e"):
        assert sign not in output.out + output.err
    return output.out


def test_every_format_of_a_comparison(hostile, capsys):
    text = printed(capsys, hostile)
    assert "<img" not in text.replace("\\<img", "")
    assert "](" not in text.replace("\\](", "")
    assert "<img" not in printed(capsys, hostile, "--format", "html")
    assert r"\x1b" in printed(capsys, hostile, "--format", "json").replace("\\\\", "\\")
    assert r"\textbackslash{}" in printed(capsys, hostile, "--format", "latex")
    rows = list(csv.reader(io.StringIO(printed(capsys, hostile, "--format", "csv"))))
    assert len(rows) == 2
    assert rows[1][rows[0].index("protocol_dataset")] == f"'{FORMULA}"
    assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "@"))]


def test_stored_tables_keep_such_names_and_run_nothing(hostile):
    (found,), left_out = find_runs([hostile])
    assert not left_out
    cells = pd.read_csv(found.path / "batches.csv")["domain"].unique()
    assert cells[1] == f"'{FORMULA}"
    assert b"\x1b" not in (found.path / "batches.csv").read_bytes()
    names = [row["domain"] for row in found.summary["domains"]]
    assert found.batches()["domain"].unique().tolist() == names
    assert names[1] == FORMULA
    assert names[2] == printable(ESCAPE)
    stored = json.loads((found.path / "summary.json").read_text())
    assert stored["domains"][2]["domain"] == ESCAPE  # as it is


def test_a_run_on_data_whose_domains_are_named_so(tmp_path, capsys):
    generator = np.random.default_rng(0)
    names = np.array([ESCAPE, LINK, "nan"])
    np.savez(
        tmp_path / "mine.npz",
        images=generator.integers(0, 256, (12, 32, 32, 3), np.uint8),
        labels=np.arange(12) % 10,
        domains=np.arange(12) // 4,
        names=names,
    )
    data = ["--dataset", f"arrays:{tmp_path / 'mine.npz'}", "--backbone", "cifar_resnet32"]
    weights = ["--weights", str(files("tta.datasets") / "assets/digits_cifar_resnet32.safetensors")]
    assert run([*data, *weights, "--output", str(tmp_path), "--batch-size", "4"]) == 0
    output = capsys.readouterr()
    assert r"\\x1b[2Jgone" in output.out
    for sign in ("\x1b", "\x9b", "\u202e"):
        assert sign not in output.out + output.err
    (found,), _ = find_runs([tmp_path])
    assert found.batches()["domain"].tolist() == [printable(name) for name in names]


def test_errors_and_what_is_left_out(hostile, tmp_path, capsys):
    folder = tmp_path / "b\x1b[31m"
    folder.mkdir()
    (folder / "summary.json").write_text("{")
    printed(capsys, tmp_path)
    assert compare([str(tmp_path), "--baseline", ESCAPE]) == 2
    assert "\x1b" not in capsys.readouterr().err
