"""Runs that Ctrl-C or SIGTERM ends: what they keep, what they say, and how they go on."""

import json
import os
import shlex
import signal
import sys
from pathlib import Path

import pandas as pd
import pytest

from tta.commands.run import main
from tta.config import RunConfig
from tta.experiment import run
from tta.experiment.observing import progress
from tta.experiment.observing.sample_table import SampleTable
from tta.methods.source import Source
from tta.methods.tent import Tent

SMALL = ["--domains", "contrast,pixelate", "--num-samples", "32", "--batch-size", "16"]
RECORDS = ("batches.csv", "domains.csv", "samples.npz")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def signal_in_step(monkeypatch, method, step, number):
    """Send this process a signal in the middle of the method's ``step``, counted from 1."""
    adapt, calls = method.step, []

    def signalled(self, images):
        calls.append(len(images))
        if len(calls) == step:
            os.kill(os.getpid(), number)
        return adapt(self, images)

    monkeypatch.setattr(method, "step", signalled)


def folder_of(output) -> Path:
    (folder,) = Path(output).glob("*/*/*/*/*")
    return folder


def records(folder) -> list[bytes]:
    return [(folder / name).read_bytes() for name in RECORDS]


@pytest.mark.parametrize(
    ("number", "status", "name"), [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM")]
)
def test_a_signal_in_a_batch_saves_it_and_the_printed_command_goes_on(
    number, status, name, monkeypatch, capfd
):
    assert main(["--method", "tent", *SMALL, "--output", "whole"]) == 0
    with monkeypatch.context() as patch:
        signal_in_step(patch, Tent, 3, number)
        assert main(["--method", "tent", *SMALL, "--output", "a b"]) == status
    folder = folder_of("a b")
    said = capfd.readouterr().err
    assert f"stopped by {name}; a checkpoint holds the first 48 of 64 images" in said
    assert not json.loads((folder / "summary.json").read_text())["finished"]
    command = shlex.split(said.strip().splitlines()[-1])
    assert command[:3] == ["python", "-m", "tta.run"]
    assert main(command[3:]) == 0
    assert json.loads((folder / "summary.json").read_text())["resumed_at"] == [48]
    assert records(folder) == records(folder_of("whole"))


def test_without_checkpoints_by_choice_none_is_promised(monkeypatch, capfd):
    signal_in_step(monkeypatch, Source, 2, signal.SIGINT)
    assert main([*SMALL, "--checkpoint-every", "0"]) == 130
    folder = folder_of("results/runs")
    assert not (folder / "state.pt").exists()
    said = capfd.readouterr().err
    assert "no checkpoint was saved, and the run would start at its beginning again" in said
    assert pd.read_csv(folder / "batches.csv")["size"].sum() == 32


def test_a_signal_in_the_last_batch_lets_the_run_finish(monkeypatch, capfd):
    signal_in_step(monkeypatch, Source, 4, signal.SIGTERM)
    assert main(SMALL) == 143
    folder = folder_of("results/runs")
    assert (folder / "done").exists()
    assert f"the run had just finished: its record is {folder}" in capfd.readouterr().err


def test_before_the_stream_nothing_is_saved_and_it_says_so(monkeypatch, capfd):
    def prepare(self, source):
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Source, "prepare", prepare)
    assert main(SMALL) == 143
    assert "before the stream began; nothing was to be saved" in capfd.readouterr().err
    assert not list(Path("results").rglob("state.pt"))


def test_a_signal_while_records_are_written_waits(monkeypatch):
    save = SampleTable.save

    def signalled(self, directory):
        os.kill(os.getpid(), signal.SIGINT)
        save(self, directory)

    monkeypatch.setattr(SampleTable, "save", signalled)
    with pytest.raises(KeyboardInterrupt):
        run(RunConfig(domains=("pixelate",), num_samples=8, output="out"))
    assert (folder_of("out") / "done").exists()


def test_resume_with_nothing_to_resume_says_so_and_names_what_is_alike(monkeypatch, capfd):
    with monkeypatch.context() as patch:
        signal_in_step(patch, Tent, 1, signal.SIGINT)
        assert main(["--method", "tent", *SMALL, "--seed", "7", "--set", "lr=0.5"]) == 130
    other = folder_of("results/runs")
    capfd.readouterr()
    assert main(["--method", "tent", *SMALL, "--resume", "--quiet"]) == 0
    first, second = capfd.readouterr().err.strip().splitlines()
    assert first.startswith("--resume: 'results/runs/digits-c/continual/")
    assert first.endswith("has no checkpoint; the run starts at its beginning")
    assert second.startswith("unfinished, and alike (seed 7, here 1, set.lr 0.5, here 0.001):")
    assert second.endswith(f"--config {other}/config.yaml --resume")


def test_options_of_an_unfinished_run_of_others_are_bounded_and_harmless(monkeypatch, capfd):
    with monkeypatch.context() as patch:
        signal_in_step(patch, Tent, 1, signal.SIGINT)
        assert main(["--method", "tent", *SMALL, "--seed", "7"]) == 130
    other = folder_of("results/runs")
    laughs = "".join(f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]\n" for k in range(1, 10))
    for seed, text, words in (
        ("1", "a0: &a0 x\n" + laughs, "its options cannot be read"),
        ("2", 'precision: "\\e[2J"\n', r"precision \x1b[2J, here fp32"),
    ):
        (other / "config.yaml").write_text(text)
        capfd.readouterr()
        assert main(["--method", "tent", *SMALL, "--resume", "--quiet", "--seed", seed]) == 0
        error = capfd.readouterr().err
        assert words in error and "\x1b" not in error


def test_lines_where_there_is_no_terminal_and_none_if_quiet(monkeypatch, capfd):
    monkeypatch.setattr(progress, "LINE_INTERVAL", 0.0)
    monkeypatch.setattr("tta.experiment.observing.recorder.DISPLAY_INTERVAL", -1.0)
    assert main(SMALL) == 0
    lines = [line for line in capfd.readouterr().err.splitlines() if " images, " in line]
    assert len(lines) >= 4
    assert lines[0].startswith("contrast: 16 of 64 images, error ")
    assert lines[-1].endswith("images/s, 0 s left")
    assert main([*SMALL, "--force", "--quiet"]) == 0
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("terminal", [False, True])
def test_the_rate_counts_what_was_streamed_since(terminal, monkeypatch, capsys):
    clock = [1000.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr("tqdm.std.time", lambda: clock[0])
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    shown = progress.make_progress(True, 1000)
    clock[0] += 50.0  # reading the checkpoint
    shown.go_on_from(600)
    for _ in range(4):
        clock[0] += 31.0
        shown.show(62, "fog", {"error": "5.00%"})
    shown.close()
    said = capsys.readouterr().err
    assert "848" in said
    assert ("2.00img/s" if terminal else "error 5.00%, 2 images/s, 76 s left") in said
