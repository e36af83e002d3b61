"""A sweep that is stopped or killed leaves no process behind, and what it ran can go on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SLOW = """
import os, time
from pathlib import Path
from tta.methods import Method

class Slow(Method):
    name = "slow"

    def step(self, images):
        Path("pids", str(os.getpid())).touch()
        time.sleep(0.2)
        return self.predict(images)
"""
GRID = """
domains: [contrast, pixelate]
num_samples: 200
batch_size: 2
grid: {method: "slow.py:Slow"}
"""
LOADING = """
import multiprocessing, os, sys, time
import numpy as np, torch
from pathlib import Path
from tta.datasets.loading import load_ahead

def load(item):
    Path("pids", str(os.getpid())).touch()
    time.sleep(0.05)
    return torch.zeros(1)

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    for _ in load_ahead(load, range(10_000), 2, False):
        pass
"""

METHODS = ("fork", "forkserver", "spawn")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    Path("pids").mkdir()


def helpers(count: int) -> list[int]:
    """Wait until so many helpers are at work and return their numbers."""
    return wait_for(lambda: [int(path.name) for path in Path("pids").iterdir()], count)


def wait_for(look, count=1, seconds=120):
    end = time.monotonic() + seconds
    while len(found := look()) < count:
        assert time.monotonic() < end, f"only {found}"
        time.sleep(0.1)
    return found


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path("/proc", str(pid), "stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


def all_end(pids, seconds) -> bool:
    wait_for(lambda: [pid for pid in pids if not lives(pid)], len(pids), seconds)
    return True


def start(*arguments, **options) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *arguments], stderr=subprocess.PIPE, text=True, **options
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_workers_save_and_end_with_their_sweep(number):
    Path("slow.py").write_text(SLOW)
    Path("grid.yaml").write_text(GRID)
    with start("-m", "tta.sweep", "grid.yaml", "--workers", "1") as sweep:
        pids = helpers(1)
        sweep.send_signal(number)
        assert all_end(pids, 30)
        assert sweep.wait(60) == (143 if number == signal.SIGTERM else -number)
        said = sweep.stderr.read()
    assert len(list(Path("results").rglob("state.pt"))) == 1
    if number == signal.SIGTERM:
        assert "stopped by SIGTERM; the same command goes on with what is missing" in said
        assert "Traceback" not in said


@pytest.mark.parametrize("method", METHODS)
def test_loading_processes_end_with_their_run(method):
    Path("load.py").write_text(LOADING)
    with start("load.py", method) as parent:
        pids = helpers(2)
        parent.kill()
        assert all_end(pids, 5)


@pytest.mark.parametrize("method", METHODS)
def test_ctrl_c_reaches_a_run_and_not_what_loads_for_it(method):
    Path("load.py").write_text(LOADING)
    with start("load.py", method, start_new_session=True) as parent:
        pids = helpers(2)
        for pid in pids:
            os.kill(pid, signal.SIGINT)
            os.kill(pid, signal.SIGTERM)
        time.sleep(1)
        assert all(map(lives, pids))
        assert parent.poll() is None
        os.killpg(parent.pid, signal.SIGINT)
        assert all_end(pids, 30)
        assert "KeyboardInterrupt" in parent.stderr.read()
