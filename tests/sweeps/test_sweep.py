"""Sweeps from end to end, on processes of this machine and on Ray."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from tta.commands.run import main as run_main
from tta.commands.sweep import _conclude, main
from tta.config import RunConfig
from tta.sweeps.cells import Outcome, run_cell_apart

FOUR = """
domains: [contrast, pixelate]
num_samples: 20
batch_size: 10
output: {output}
grid: {{method: [source, bn], seed: [1, 2]}}
"""
LOADS_TORCH = """
import torch
from tta.config import RunConfig
from tta.foundation.cores import core_count
from tta.sweeps.grid import Cell
from tta.sweeps.local import run_locally

if __name__ == "__main__":
    config = RunConfig(method="source", domains=("fog",), num_samples=4, output=".")
    list(run_locally([Cell("alone", config)], core_count()))
"""
TWELVE = """
domains: [contrast, pixelate]
num_samples: 60
batch_size: 20
output: {output}
checkpoint_every: 1
grid: {{method: [tent, rmt], seed: [1, 2, 3], scenario: [continual, mixed_domains]}}
"""
SLOW_CELL = """
import os, time
from pathlib import Path
from tta.methods import Method

class {name}(Method):
    name = "{file}"

    def step(self, images):
        {action}
        return self.predict(images)
"""
without_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="the extra 'ray' is not installed"
)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


def write_grid(tmp_path, text, output="runs") -> str:
    file = tmp_path / "grid.yaml"
    file.write_text(text.format(output=output))
    return str(file)


def write_method(tmp_path, name, action) -> str:
    file = tmp_path / f"{name.lower()}.py"
    file.write_text(SLOW_CELL.format(name=name, file=name.lower(), action=action))
    return f"{file}:{name}"


def tables(folder: Path) -> dict[str, bytes]:
    found = {
        str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("domains.csv")
    }
    assert found
    return found


def test_what_is_missing_is_run_and_failures_are_listed(tmp_path, capsys):
    dies = write_method(tmp_path, "Dies", "os._exit(9)")
    fails = write_method(tmp_path, "Fails", "raise ArithmeticError('no such number')")
    grid = write_grid(tmp_path, FOUR)
    text = Path(grid).read_text().replace("[source, bn]", f"[source, '{fails}', '{dies}']")
    Path(grid).write_text(text.replace("seed: [1, 2]", "seed: [1]"))
    assert run_main(["--config", _shared(tmp_path), "--method", "source"]) == 0
    capsys.readouterr()

    assert main([grid, "--workers", "1"]) == 1
    captured = capsys.readouterr()
    assert "3 cells: 0 run, 1 finished before, 2 failed" in captured.out
    assert "ArithmeticError: no such number" in captured.err
    assert "its process was killed" in captured.err
    assert "in step" in (tmp_path / "grid.errors.txt").read_text()


def test_the_file_of_tracebacks_replaces_a_planted_link(tmp_path):
    cell = SimpleNamespace(name="a")
    outcome = SimpleNamespace(cell=cell, finished=None, error="no\x1b[2J\udcff", details="why")
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "log").symlink_to(tmp_path / "victim")
    assert _conclude([outcome], tmp_path / "log", sys.stdout) == 1
    assert (tmp_path / "victim").read_text() == "precious"
    assert (tmp_path / "log").read_text() == r"a: no\x1b[2J\udcff" + "\nwhy"


def _shared(tmp_path) -> str:
    file = tmp_path / "shared.yaml"
    file.write_text(FOUR.format(output="runs").split("grid:")[0])
    return str(file)


def test_a_dry_run_lists_and_estimates_and_writes_nothing(tmp_path, capsys):
    grid = write_grid(tmp_path, FOUR)
    text = Path(grid).read_text().replace("[source, bn]", "[source, tnet]")
    Path(grid).write_text(text)
    assert main([grid, "--dry-run"]) == 2
    printed = capsys.readouterr().out
    assert "method=source seed=2: missing, about" in printed
    assert "method=tnet seed=1: unknown method 'tnet'" in printed
    assert "4 cells, about" in printed
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_goes_on_after_a_cell_that_fails(tmp_path, capsys):
    fails = write_method(tmp_path, "Fails", "raise MemoryError('no room')")
    grid = write_grid(tmp_path, FOUR)
    text = Path(grid).read_text().replace("[source, bn]", f"['{fails}', source]")
    Path(grid).write_text(text.replace("seed: [1, 2]", "seed: [1]"))
    assert main([grid, "--dry-run"]) == 1
    printed = capsys.readouterr().out
    assert "MemoryError: no room" in printed
    assert "method=source seed=1: missing, about" in printed


def test_a_grid_with_an_impossible_cell_is_refused_before_anything_is_run(tmp_path, capsys):
    grid = write_grid(tmp_path, FOUR)
    Path(grid).write_text(Path(grid).read_text().replace("[source, bn]", "[source, drm]"))
    assert main([grid, "--workers", "1"]) == 2
    captured = capsys.readouterr()
    assert (
        "error: nothing was run, as some cells of the grid cannot run (seeds aside, 1 of 2): "
        in (captured.err)
    )
    assert "method=drm seed=1: " in captured.err
    assert not (tmp_path / "runs").exists()


def test_a_cell_run_apart_sends_its_files_whatever_a_probe_says(tmp_path, monkeypatch):
    picks = iter(["fp32", "bf16"])
    monkeypatch.setattr(
        "tta.backbones.precision._relative_time", lambda *arguments: 0.5 + (next(picks) == "fp32")
    )
    options = {"domains": ("contrast",), "num_samples": 20, "batch_size": 10}
    config = RunConfig(method="source", precision="auto", output=str(tmp_path), **options)
    finished, files = run_cell_apart(config, frozenset())
    assert {"done", "summary.json"} < files.keys()
    summary = json.loads(files["summary.json"])
    assert summary["precision"] == "fp32"
    assert finished.path.endswith(summary["fingerprint"])
    assert next(picks) == "bf16"


def test_workers_share_the_cores_that_they_may_use(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 5}, raising=False)
    threads = []
    monkeypatch.setattr(
        "tta.sweeps.local._Worker.__init__", lambda _, share, *_others: threads.append(share)
    )
    monkeypatch.setattr(
        "tta.sweeps.local._Worker.run",
        lambda _, cells, share: [Outcome(cell, None) for cell in cells],
    )
    monkeypatch.setattr("tta.sweeps.local._Worker.check", lambda _, cell: "")
    monkeypatch.setattr("tta.sweeps.local._Worker.close", lambda _: None)
    assert main([write_grid(tmp_path, FOUR)]) == 1
    assert threads == [1, 1]


def test_a_script_that_has_loaded_torch_does_not_undo_the_sharing(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(LOADS_TORCH)
    subprocess.run([sys.executable, str(script)], check=True, cwd=tmp_path)
    (summary,) = (json.loads(file.read_text()) for file in tmp_path.rglob("summary.json"))
    assert summary["environment"]["threads"] == 1


def test_bad_grids_end_with_one_line(tmp_path, capsys):
    assert main(["none.yaml"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main([write_grid(tmp_path, FOUR), "--workers", "0"]) == 2
    assert "--workers must be at least 1" in capsys.readouterr().err


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is installed")
def test_ray_where_it_is_missing(tmp_path, capsys):
    assert main([write_grid(tmp_path, FOUR), "--executor", "ray"]) == 2
    assert "pip install 'tta-harness[ray]'" in capsys.readouterr().err


@pytest.mark.slow
@without_ray
def test_ray_with_a_worker_killed_agrees_with_local_processes(tmp_path, capsys, monkeypatch):
    assert main([write_grid(tmp_path, TWELVE, "local"), "--workers", "2"]) == 0
    monkeypatch.setenv("TTA_TEST_FOLDER", str(tmp_path))  # tells this cluster's workers
    killed = threading.Thread(target=_kill_one_worker, args=(str(tmp_path),), daemon=True)
    killed.start()
    assert main([write_grid(tmp_path, TWELVE, "gathered"), "--executor", "ray"]) == 0
    killed.join(timeout=1)
    assert not killed.is_alive()
    printed = capsys.readouterr().out
    assert "12 cells: 12 run, 0 finished before, 0 failed" in printed
    assert tables(tmp_path / "gathered") == tables(tmp_path / "local")

    assert main([write_grid(tmp_path, TWELVE, "gathered"), "--executor", "ray"]) == 0
    assert "12 cells: 0 run, 12 finished before" in capsys.readouterr().out
    assert main([write_grid(tmp_path, FOUR, "shared"), "--executor", "ray", "--shared"]) == 0
    assert len(tables(tmp_path / "shared")) == 4


def _kill_one_worker(mark: str) -> None:
    """Wait for a process that executes a cell, and kill it."""
    while True:
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                title = (folder / "cmdline").read_bytes()
                environment = (folder / "environ").read_bytes()
            except OSError:
                continue
            if title.startswith(b"ray::run_cell_apart") and mark.encode() in environment:
                time.sleep(3)
                os.kill(int(folder.name), signal.SIGKILL)
                return
        time.sleep(0.2)
