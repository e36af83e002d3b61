"""Runs in one table, and runs that do not belong into one."""

import json

import pytest

from tta.compare import main
from tta.config import RunConfig
from tta.experiment import run

SMALL = {"domains": ("contrast", "pixelate"), "num_samples": 40}


@pytest.fixture
def make(tmp_path):
    def made(**options):
        return run(RunConfig(**SMALL, **options, output=str(tmp_path / "runs")))

    return made


def printed(capsys, *arguments):
    assert main([*map(str, arguments)]) == 0
    return capsys.readouterr().out


def refused(capsys, *arguments):
    assert main([*map(str, arguments)]) == 2
    return capsys.readouterr().err


def test_methods_by_domains_best_first(make, tmp_path, capsys):
    summaries = {method: make(method=method) for method in ("source", "bn")}
    lines = printed(capsys, tmp_path / "runs").splitlines()
    assert [cell.strip() for cell in lines[0].split("|")[1:-1]] == [
        "method",
        "predicts",
        "contrast",
        "pixelate",
        "mean",
    ]
    assert lines[2].startswith("| bn ")
    assert f"{100 * summaries['bn']['mean_error']:.2f} |" in lines[2]
    assert lines[3].startswith("| source ")
    assert "40 images per domain" in lines[-1]


def test_namesakes_are_told_apart_by_what_differs(make, tmp_path, capsys):
    for weight in (0.25, 0.75):
        make(method="bn_alpha", set={"target_weight": weight})
    text = printed(capsys, tmp_path / "runs", "--metric", "accuracy")
    assert "bn_alpha (target_weight=0.25)" in text
    assert "bn_alpha (target_weight=0.75)" in text


def test_unlike_streams_are_refused_or_split(make, tmp_path, capsys):
    make(method="bn")
    make(method="bn", seed=2)
    error = refused(capsys, tmp_path / "runs")
    assert "differ in stream_digest" in error
    assert "--split" in error
    assert printed(capsys, tmp_path / "runs", "--split").count("| method ") == 2


def test_damaged_and_missing_records(make, tmp_path, capsys):
    assert "holds no run" in refused(capsys, tmp_path)
    summary = make(method="source")
    file = f"{summary['path']}/summary.json"
    text = open(file).read()
    open(file, "w").write(text[:100])
    assert "is damaged" in refused(capsys, summary["path"])
    open(file, "w").write(json.dumps({**json.loads(text), "schema": 99}))
    assert "not a summary of schema 1" in refused(capsys, summary["path"])
