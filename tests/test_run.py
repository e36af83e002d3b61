"""The run command from end to end."""

import json
import re
import subprocess
import sys
import time

import pandas as pd
import pytest
import yaml

from tta.commands.run import main
from tta.config import RunConfig
from tta.experiment import build, run

SMALL = ["--domains", "contrast,pixelate", "--num-samples", "50", "--batch-size", "20"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def summary_of(capsys, *arguments):
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_table_and_records(capsys, tmp_path):
    assert main(["--method", "tent", *SMALL]) == 0
    printed = capsys.readouterr().out
    assert "| contrast " in printed
    assert "mean over domains" in printed
    (directory,) = tmp_path.glob("results/runs/digits-c/continual/test_resnet*/tent/*")
    assert {file.name for file in directory.iterdir()} == {
        "batches.csv",
        "config.yaml",
        "domains.csv",
        "done",
        "samples.npz",
        "summary.json",
        "timing.csv",
    }
    batches = pd.read_csv(directory / "batches.csv")
    assert batches["size"].tolist() == [20, 20, 10] * 2
    domains = pd.read_csv(directory / "domains.csv")
    assert domains["correct"].sum() == batches["correct"].sum()
    summary = json.loads((directory / "summary.json").read_text())
    assert summary["finished"]
    assert len(summary["code_digest"]) == 64
    assert summary["mean_error"] == pytest.approx(domains["error"].mean())
    assert summary["pooled_error"] == pytest.approx(1 - domains["correct"].sum() / 100)


def test_equal_runs_leave_equal_records(tmp_path):
    texts = []
    for output in ("first", "second"):
        assert (
            main(["--method", "rmt", *SMALL, "--output", output, "--set", "warm_up_samples=40"])
            == 0
        )
        (directory,) = (tmp_path / output).glob("*/*/*/*/*")
        names = ("batches.csv", "domains.csv", "samples.npz")
        texts.append([(directory / name).read_bytes() for name in names])
    assert texts[0] == texts[1]


def test_every_method_sees_the_same_stream(capsys):
    digests = {
        summary_of(capsys, "--method", method, *SMALL)["stream_digest"]
        for method in ("source", "bn", "tent")
    }
    assert len(digests) == 1


def test_a_finished_run_is_not_run_again(capsys):
    assert not summary_of(capsys, *SMALL)["reused"]
    assert summary_of(capsys, *SMALL)["reused"]
    assert not summary_of(capsys, *SMALL, "--force")["reused"]
    main(SMALL)
    assert "--force" in capsys.readouterr().out


def test_recorded_configuration_runs_again_to_the_same_figures(capsys, tmp_path):
    first = summary_of(capsys, "--method", "bn_alpha", "--set", "target_weight=0.3", *SMALL)
    config = yaml.safe_load(open(f"{first['path']}/config.yaml"))
    assert config["set"]["target_weight"] == 0.3
    assert config["set"]["compat"] is False
    again = summary_of(capsys, "--config", f"{first['path']}/config.yaml", "--force")
    assert again["domains"] == first["domains"]
    assert again["fingerprint"] == first["fingerprint"]


def test_flags_go_over_the_file(capsys, tmp_path):
    (tmp_path / "a.yaml").write_text(
        "method: bn_alpha\nset: {target_weight: 0.2}\nbatch_size: 25\n"
    )
    options = ["--domains", "pixelate", "--num-samples", "50", "--set", "compat=true"]
    summary = summary_of(capsys, "--config", "a.yaml", *options)
    assert summary["params"]["target_weight"] == 0.2
    assert summary["params"]["compat"] is True
    assert summary["batch_size"] == 25


def test_fingerprints_differ_where_figures_may(tmp_path):
    base = {"domains": ("pixelate",), "num_samples": 8}
    variants = [{}, {"seed": 2}, {"method": "bn"}, {"batch_size": 4}, {"precision": "bf16"}]
    prints = [build(RunConfig(**base, **variant)).fingerprint() for variant in variants]
    assert len(set(prints)) == len(variants)
    assert build(RunConfig(**base, output="x", force=True)).fingerprint() == prints[0]


def test_interruption_leaves_a_valid_partial_record(tmp_path, monkeypatch, capsys):
    from tta.methods.source import Source

    steps = []

    def step(self, images):
        steps.append(len(images))
        if len(steps) == 3:
            raise KeyboardInterrupt
        return self.predict(images)

    monkeypatch.setattr(Source, "step", step)
    assert main(SMALL) == 130
    (directory,) = tmp_path.glob("results/runs/*/*/*/*/*")
    summary = json.loads((directory / "summary.json").read_text())
    assert not summary["finished"]
    assert summary["samples"] == 40
    assert not (directory / "done").exists()
    assert pd.read_csv(directory / "batches.csv")["size"].tolist() == [20, 20]


def test_precision_and_window(capsys):
    half = summary_of(capsys, "--method", "tent", "--precision", "bf16", *SMALL)
    assert half["mean_accuracy"] > 0.3
    single = ["--domains", "pixelate", "--num-samples", "12", "--batch-size", "1"]
    windowed = summary_of(capsys, "--method", "tent", "--window", "6", *single)
    assert windowed["samples"] == 12


def test_help_needs_no_torch():
    code = (
        "import sys; from tta.commands import run; run.parser('tta run').format_help(); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_list_imports_nothing_that_takes_long():
    heavy = "{'torch', 'timm', 'torchvision', 'pandas', 'sklearn'}"
    code = (
        f"import sys, tta.run; tta.run.main(['--list']); sys.exit(bool({heavy} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_params_are_listed_with_defaults_and_presets(capsys):
    assert main(["--method", "rmt", "--params"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^warm_up_samples +50000 ", printed, re.MULTILINE)
    assert re.search(r"^  digits-c +\S+=", printed, re.MULTILINE)
    assert max(map(len, printed.splitlines())) <= 100


def test_python_api_returns_the_summary(tmp_path):
    started = time.perf_counter()
    summary = run(RunConfig(domains=("pixelate",), num_samples=10, output=str(tmp_path)))
    assert summary["samples"] == 10
    assert 0 < summary["cost"]["stream_seconds"] < time.perf_counter() - started
