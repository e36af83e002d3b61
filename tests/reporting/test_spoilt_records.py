"""One bad record among good ones is left out by name, whatever is wrong with it."""

import json
import os
import random
import shutil

import numpy as np
import pytest

from tests.reporting.fake_runs import edit_summary, write_run
from tta.commands.compare import main as compare
from tta.commands.plot import main as plot
from tta.commands.report import main as report
from tta.reporting.comparing.comparison import compare as compared
from tta.reporting.comparing.formats import render_csv, render_json, render_tables, tables
from tta.reporting.records.finding import find_runs

DOMAINS = ("a", "b", "c")


def write(root, method, **options):
    return write_run(root, method, images=20, domains=DOMAINS, **options)


def flip(file, share=0.5, bit=0x10):
    content = bytearray(file.read_bytes())
    content[int(share * len(content))] ^= bit
    file.write_bytes(bytes(content))


def cut(file):
    file.write_bytes(file.read_bytes()[:-9])


def replace(file, old, new):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def link_to_itself(file):
    file.unlink()
    file.symlink_to(file.name)


def nested(depth):
    return '{"schema": 1, "params": ' + "[" * depth + "]" * depth + "}"


def laughs():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    names = [", ".join([f"*a{number}"] * 10) for number in range(9)]
    return "\n".join(lines + [f"a{i + 1}: &a{i + 1} [{name}]" for i, name in enumerate(names)])


def merged():
    """Return mappings of which each merges the one before nine times."""
    lines = ["a0: &a0 {x: 1, y: 2}"]
    names = [", ".join([f"*a{number}"] * 9) for number in range(9)]
    lines += [f"a{i + 1}: &a{i + 1} {{<<: [{name}]}}" for i, name in enumerate(names)]
    return "\n".join(lines)


def pipe(file):
    file.unlink(missing_ok=True)
    os.mkfifo(file)


SPOILT = {
    "samples flipped": lambda path: flip(path / "samples.npz"),
    "samples cut": lambda path: cut(path / "samples.npz"),
    "samples of more dimensions": lambda path: np.savez(
        path / "samples.npz", correct=np.ones((60, 1), bool), confidence=np.ones(60), visit=[0] * 60
    ),
    "samples of text": lambda path: (path / "samples.npz").write_text("hello"),
    "null environment": lambda path: edit_summary(path, environment=None),
    "environment of lists": lambda path: edit_summary(path, environment={"torch": [1]}),
    "infinity": lambda path: edit_summary(path, mean_nll=float("inf")),
    "NaN inside": lambda path: edit_summary(path, params={"lr": float("nan")}),
    "error above 1": lambda path: edit_summary(path, mean_error=1.5),
    "beyond 64 bits": lambda path: edit_summary(path, seed=10**30),
    "4,000 digits": lambda path: edit_summary(path, seed=10**4000),
    "figures that do not follow": lambda path: edit_summary(path, mean_error=0.123),
    "no title": lambda path: edit_summary(path, title=None),
    "costs of text": lambda path: edit_summary(path, cost={"stream_seconds": "2"}),
    "needs of numbers": lambda path: edit_summary(path, needs=[1]),
    "nested": lambda path: (path / "summary.json").write_text(nested(100_000)),
    "nested within reason": lambda path: (path / "summary.json").write_text(nested(500)),
    "a list": lambda path: (path / "summary.json").write_text('{"schema": [1]}'),
    "no file": lambda path: link_to_itself(path / "summary.json"),
    "config cut": lambda path: (path / "config.yaml").write_text("{"),
    "config a list": lambda path: (path / "config.yaml").write_text("[1, 2]"),
    "config of merged keys": lambda path: (path / "config.yaml").write_text(merged()),
    "config a pipe": lambda path: pipe(path / "config.yaml"),
    "config of objects": lambda path: (path / "config.yaml").write_text("a: !!int x"),
    "config of dates": lambda path: (path / "config.yaml").write_text("a: 2020-01-01"),
    "config within itself": lambda path: (path / "config.yaml").write_text("a: &a [*a]"),
    "config that laughs": lambda path: (path / "config.yaml").write_text(laughs()),
    "config nested": lambda path: (path / "config.yaml").write_text("[" * 1000),
    "batches cut": lambda path: flip(path / "batches.csv", 0.5, 0x80),
    "batches doubled": lambda path: (path / "batches.csv").write_text(
        (path / "batches.csv").read_text() * 2
    ),
    "batches with another count": lambda path: replace(path / "batches.csv", ",10,", ",1000000,"),
    "batches without a column": lambda path: replace(path / "batches.csv", "severity", "size"),
    "batches emptied": lambda path: (path / "batches.csv").write_text(""),
    "domains changed": lambda path: replace(path / "domains.csv", "a,5,20", "a,5,21"),
    "domains emptied": lambda path: (path / "domains.csv").write_text("\n"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_record_is_left_out_by_name(name, tmp_path, capsys):
    write(tmp_path, "bn")
    spoilt = write(tmp_path, "tent")
    SPOILT[name](spoilt)
    runs, left_out = find_runs([tmp_path])
    assert [run.summary["method"] for run in runs] == ["bn"]
    (line,) = left_out
    assert line.startswith(f"{spoilt}: ")
    assert compare([str(tmp_path), "--format", "json"]) == 0
    output = capsys.readouterr()
    assert json.loads(output.out)["left_out"] == left_out
    assert output.err == f"left out {line}\n"
    assert compare([str(spoilt)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_named_beside_a_good_one_it_is_left_out_too(tmp_path, capsys):
    good, spoilt = write(tmp_path, "bn"), write(tmp_path, "tent")
    flip(spoilt / "samples.npz")
    assert compare([str(good), str(spoilt), "--tables", "errors"]) == 0
    output = capsys.readouterr()
    assert "| bn " in output.out
    assert f"left out {spoilt}: " in output.err
    assert compare([str(good), str(tmp_path / "nowhere")]) == 2
    assert "holds no run; name a folder" in capsys.readouterr().err


def test_folders_that_cannot_be_read_are_named(tmp_path, monkeypatch, capsys):
    write(tmp_path, "bn")
    closed = write(tmp_path, "tent").parent
    look = os.scandir

    def refuse(path):
        if str(path) == str(closed):
            raise PermissionError(13, "Permission denied", str(closed))
        return look(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert compare([str(tmp_path), "--tables", "errors"]) == 0
    output = capsys.readouterr()
    assert "| bn " in output.out
    assert output.err == f"left out {closed}: it cannot be read (Permission denied); check it\n"
    for name in ("x" * 300, "nul\0"):
        assert compare([str(tmp_path / name)]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_report_and_plot_go_on_too(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    write(tmp_path, "bn")
    spoilt = write(tmp_path, "tent")
    (spoilt / "batches.csv").write_text("")
    (write(tmp_path, "rmt") / "batches.csv").unlink()
    assert report([str(tmp_path), "-o", str(tmp_path / "a.html")]) == 0
    assert f"left out {spoilt}: " in capsys.readouterr().err
    assert plot(["stream", str(tmp_path), "-o", str(tmp_path / "a.svg")]) == 0
    error = capsys.readouterr().err
    assert f"left out {spoilt}: " in error
    assert "it has no batches.csv" in error
    picture = (tmp_path / "a.svg").read_text()
    assert "bn" in picture
    assert "rmt" not in picture


def test_one_of_two_copies_is_used(tmp_path):
    first = write(tmp_path / "runs", "bn")
    write(tmp_path / "runs", "tent")
    shutil.copytree(tmp_path / "runs", tmp_path / "copy")
    runs, left_out = find_runs([tmp_path / "copy", tmp_path / "runs"])
    assert len(runs) == 2
    assert f"{first}: it is a copy of " in left_out[0]
    (comparison,) = compared(runs)
    assert [row.label for row in comparison.rows] == ["bn", "tent"]


def test_the_better_copy_is_used(tmp_path):
    whole = write(tmp_path / "runs", "bn")
    for folder in ("a", "b"):
        shutil.copytree(tmp_path / "runs", tmp_path / folder)
    unfinished, flipped = (tmp_path / name / whole.relative_to(tmp_path / "runs") for name in "ab")
    edit_summary(unfinished, finished=False)
    flip(flipped / "samples.npz")
    runs, left_out = find_runs([tmp_path])
    assert [run.path for run in runs] == [whole]
    assert "unfinished copy of" in " ".join(left_out)


def test_a_copy_with_other_figures_is_named_for_that(tmp_path):
    first = write(tmp_path / "a", "bn")
    second = write(tmp_path / "b", "bn", skill=0.1)
    runs, left_out = find_runs([tmp_path])
    assert [run.path for run in runs] == [first]
    assert left_out[0].startswith(f"{second}: its figures are not those of the same run in")


def test_interrupted_runs_alone_make_a_table(tmp_path, capsys):
    for method in ("bn", "tent"):
        write(tmp_path, method, finished=False)
    for form in ("markdown", "latex", "html", "csv", "json"):
        assert compare([str(tmp_path), "--format", form]) == 0
        assert "bn (unfinished)" in capsys.readouterr().out
    pytest.importorskip("matplotlib")
    for kind in ("stream", "heatmap", "cost", "reliability"):
        assert plot([kind, str(tmp_path), "-o", str(tmp_path / "a.svg")]) == 0
    assert report([str(tmp_path), "-o", str(tmp_path / "a.html")]) == 0


VALUES = (
    None,
    True,
    -1,
    0.5,
    2**70,
    1e308,
    float("nan"),
    "",
    "=x",
    "\x1b[2J",
    [],
    [[1]],
    {},
    {"a": None},
    {"": [{}]},
)


def mutated(summary, generator):
    """Return a summary with one value, at any place, replaced or removed."""
    summary = json.loads(json.dumps(summary))
    place = summary
    while True:
        name = generator.choice(list(place) if isinstance(place, dict) else range(len(place)))
        inner = place[name]
        if isinstance(inner, dict | list) and inner and generator.random() < 0.6:
            place = inner
            continue
        if generator.random() < 0.2:
            del place[name]
        else:
            place[name] = generator.choice(VALUES)
        return summary


def shown(folder):
    """Make every text of a folder."""
    runs, left_out = find_runs([folder])
    comparisons = compared(runs, split=True)
    for comparison in comparisons:
        made = tables(comparison, ("errors", "cost", "tests"), "error")
        for form in ("markdown", "latex", "html"):
            assert "\x1b" not in render_tables(made, form)
    assert "\x1b" not in render_csv(comparisons)
    render_json(comparisons, left_out)
    return len(runs), len(left_out)


@pytest.mark.parametrize("count", [40, pytest.param(1500, marks=pytest.mark.slow)])
def test_any_value_at_any_place(tmp_path, count):
    write(tmp_path, "bn")
    path = write(tmp_path, "tent")
    summary = json.loads((path / "summary.json").read_text())
    generator = random.Random(0)
    for _ in range(count):
        (path / "summary.json").write_text(json.dumps(mutated(summary, generator)))
        kept, left_out = shown(tmp_path)
        # A file without "schema" is some other program's.
        assert kept + left_out in (1, 2)
