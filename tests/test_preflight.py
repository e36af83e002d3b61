"""Bad words are refused before torch is imported; what is read from source is what is there."""

import dataclasses
import json
import os
import subprocess
import sys
import typing
from pathlib import Path

import pytest

from tta.commands.run import main
from tta.datasets import DATASETS
from tta.methods import METHODS
from tta.methods.declared import declared

LONG = "x" * 300

REFUSED = {
    "--method tnet": "unknown method 'tnet'; did you mean 'tent'",
    "--method tnet --params": "unknown method 'tnet'; did you mean 'tent'",
    "--method none.py:Mine": "method file 'none.py' does not exist",
    "--method broken.py:Mine": "method file 'broken.py' fails in line 2 (SyntaxError",
    "--backbone resnet81": "unknown backbone 'resnet81'; did you mean 'resnet18'",
    "--backbone resnet18x.a1_in1k": "unknown backbone 'resnet18x.a1_in1k'; did you mean",
    "--method cema --cloud-backbone vit": "unknown backbone 'vit'",
    f"--method {LONG}.py:Mine": "cannot be looked at (File name too long)",
    "--method tent --set lrr=1": "method 'tent' has no parameter 'lrr'; did you mean 'lr'?",
    "--method tent --set lr=fast": "tent.lr must be float, but got 'fast'",
    "--method tent --set lr=-1": "tent.lr must be at least 0.0, but got -1.0",
    "--method tent --set lr=.nan": "tent.lr must be finite float, but got nan",
    "--method tent --set weight_decay=1e300": "weight_decay must be at most 3.4e+38 in size",
    "--method rotta --set memory_size=1e20": "between 1 and 1000000, but got 100000",
    "--method lame --set max_steps=1e12": "lame.max_steps must be at most 1e+09 in size",
    "--method asr --set inner=tent": "asr.inner must be one of eta, roid",
    "--method reservoir --set inner=tnet": "unknown method 'tnet'; did you mean 'tent'",
    "--method buffer --set inner.lrr=1": "method 'tent' has no parameter 'lrr'; did you mean 'lr'?",
    "--method buffer --set inner=sar --set inner.margin=-1": "sar.margin must be at least 0.0",
    "--preset nothing": "unknown preset 'nothing'",
    "--dataset digit-c": "unknown dataset 'digit-c'; did you mean 'digits-c'",
    "--dataset arrays": "write arrays:PATH",
    "--dataset arrays:none.npz": "no file 'none.npz'",
    "--dataset folder:none": "no folder 'none'",
    "--dataset folder@gen:none": "no folder 'none'",
    f"--dataset arrays:{LONG}": "cannot be looked at (File name too long)",
    f"--dataset folder:{LONG}": "cannot be looked at (File name too long)",
    "--dataset digits-c:x": "digits-c takes no path",
    "--dataset cifar10-c": "pass --data-dir DIR or set TTA_DATA_DIR",
    "--dataset cifar10-c --data-dir none": "no folder 'none'",
    f"--data-dir {LONG}": "cannot be looked at (File name too long)",
    "--source arrays:none.npz": "no file 'none.npz'",
    f"--source folder:{LONG}": "cannot be looked at (File name too long)",
    "--scenario continul": "unknown scenario 'continul'; did you mean 'continual'",
    "--domains fog,fogg": "no domain 'fogg'; did you mean 'fog'",
    "--severity 7": "no severity 7; it has: 1, 2, 3, 4, 5",
    "--scenario recorded --severity 3": "--severity cannot be chosen",
    "--weights none.pth": "checkpoint none.pth does not exist",
    f"--weights {LONG}": "cannot be looked at (File name too long)",
    "--cloud-weights .": "is a directory",
    "--config none.yaml": "cannot read 'none.yaml' (No such file or directory)",
    f"--config {LONG}": "cannot read 'xxx",
    "--output broken.py/runs": "broken.py' is no folder); choose another --output",
    f"--output {LONG}": "--output: ",
    f"--decoded-cache {LONG}": "--decoded-cache: ",
    "--seed 18446744073709551616": "--seed must be at most 9223372036854775807",
    "--seed -1": "--seed must be at least 0",
    "--num-samples 1e400": "invalid int value: '1e400'",
    "--num-samples 1e20": "--num-samples must be at most 1000000000",
    "--num-classes 1e9": "--num-classes must be at most 1000000",
    "--batch-size 1e12": "--batch-size must be at most 1000000",
    "--workers 100000": "--workers must be at most 1024",
    "--severity 1e30": "--severity must be at most 9223372036854775807",
    "--method cema --set upload_budget=1.5": "cema.upload_budget must be between 0.0 and 1.0",
    "--method cema --set link_latency=1e300": "cema.link_latency must be",
    "--dirichlet nan": "--dirichlet must be finite",
    "--order backwards": "--order takes canonical, petta, random or random:SEED",
    "--dataset pacs --order petta": "--order petta has no place for art_painting",
    "--scenario recurring --visits 0": "--visits must be at least 1",
    "--scenario recurring+groupd": "has an unknown part 'groupd'",
    "--scenario markov --markov nu": "--markov takes four letters",
    "--scenario label_shift --imbalance-ratio 0": "--imbalance-ratio must be at least 1",
    "--classes-per-batch 4,1": "--classes-per-batch takes the least and the greatest number",
    "--compose fog": "--compose takes two corruptions or more",
    "--dataset cifar10-c --compose fog,snow": "those of dataset 'cifar10-c' are not",
    "compare none": "'none' holds no run",
    f"compare {LONG}": "run: 'xxx",
    "compare . --published none.csv": "no file 'none.csv'; --published names a CSV file",
    "compare . --tables x": "--tables has no table 'x'",
    "report none -o r.html": "'none' holds no run",
    "plot stream none -o a.svg": "'none' holds no run",
    "sweep none.yaml": "cannot read 'none.yaml' (No such file or directory)",
    f"sweep {LONG}": "cannot read 'xxx",
    "published nothing": "no table or YAML file 'nothing'",
    f"published {LONG}": "table: 'xxx",
}

PROBE = """
import contextlib, io, json, sys, time
from tta.commands import compare, plot, published, report, run, sweep
for line in json.load(sys.stdin):
    main = run.main
    if line[:1] != "-":
        name, _, line = line.partition(" ")
        main = globals()[name].main
    err, start = io.StringIO(), time.process_time()
    with contextlib.redirect_stderr(err):
        status = main(line.split())
    heavy = sorted({"torch", "timm", "pandas"} & sys.modules.keys())
    print(json.dumps([status, err.getvalue(), heavy, time.process_time() - start]))
"""


def test_bad_words_are_refused_without_torch(tmp_path, monkeypatch):
    monkeypatch.delenv("TTA_DATA_DIR", raising=False)
    (tmp_path / "broken.py").write_text("x = 1\ndef f(:\n")
    result = subprocess.run(
        [sys.executable, "-c", PROBE],
        input=json.dumps(list(REFUSED)),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
        check=True,
    )
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    for (arguments, message), answer in zip(REFUSED.items(), answers, strict=True):
        status, error, heavy, seconds = answer
        assert message in error, (arguments, error)
        assert (status, error.count("\n"), heavy) == (2, 1, []), (arguments, answer)
        assert seconds < 1, arguments
    assert [file.name for file in tmp_path.iterdir()] == ["broken.py"]


@pytest.mark.parametrize("name", [name for name in METHODS if METHODS.location(name)])
def test_the_declared_hyper_parameters_are_those_of_the_class(name):
    ours, real = declared(METHODS.location(name)), METHODS[name]
    assert ours.name == real.name == name
    fields = [dataclasses.fields(kind.Params) for kind in (ours, real)]
    facts = [[(f.name, f.default, dict(f.metadata)) for f in found] for found in fields]
    assert facts[0] == facts[1]
    assert typing.get_type_hints(ours.Params) == typing.get_type_hints(real.Params)


@pytest.mark.parametrize("name", [name for name in DATASETS if DATASETS.location(name)])
def test_what_data_sets_declare_is_what_they_have(name):
    ours, real = declared(DATASETS.location(name)), DATASETS[name]
    facts = ("argument", "domains", "severities", "default_severity", "in_order", "benchmark")
    for fact in (*facts, "makes_corruptions"):
        assert getattr(ours, fact, None) == getattr(real, fact, None), fact
    assert [kind.__name__ for kind in ours.__mro__ if kind.__module__ != "builtins"] == [
        kind.__name__ for kind in real.__mro__ if kind.__module__.startswith("tta.")
    ]


def test_the_greatest_seed_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run = ["--num-samples", "8", "--domains", "fog", "--batch-size", "8", "--json"]
    assert main(["--method", "tent", "--seed", str(2**63 - 1), *run]) == 0
    assert json.loads(capsys.readouterr().out)["samples"] == 8


def test_an_unwritable_or_unreadable_path_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    stat = os.stat

    def denied(path, *args, **options):
        if Path(path).stem == "a":
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, *args, **options)

    monkeypatch.setattr("tta.foundation.inputs.os.stat", denied)
    for option, value in [
        ("--dataset", "arrays:a.npz"),
        ("--dataset", "folder:a"),
        ("--source", "arrays:a.npz"),
        ("--data-dir", "a"),
        ("--weights", "a"),
        ("--cloud-weights", "a"),
        ("--method", "a.py:A"),
        ("--output", "a"),
    ]:
        assert main([option, value]) == 2
        assert "cannot be looked at (Permission denied)" in capsys.readouterr().err
