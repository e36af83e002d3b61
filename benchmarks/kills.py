"""Kill short runs at random moments, resume them, and compare what they leave, byte by byte.

    OMP_NUM_THREADS=1 python benchmarks/kills.py

Every run is a process of its own on digits-c, with a checkpoint after every batch, that SIGKILL or
SIGTERM ends in turn. Status 1 where a resumed run differs from one that nobody killed.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import random
import signal
import tempfile
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from tta.config import RunConfig
from tta.experiment import run
from tta.foundation.stops import Stopped
from tta.methods import METHODS

WANTED = (
    *("rmt", "rotta", "cotta", "cema", "tent", "eata", "note", "adacontrast", "petta", "roid"),
    *("cmf", "sar", "asr", "spa", "santa", "deyo", "t3a", "lame", "bn_ema"),
)
SIGNALS = (signal.SIGKILL, signal.SIGTERM)
RECORDS = ("batches.csv", "domains.csv", "samples.npz")
SETTINGS = {
    "rmt": {"warm_up_samples": 256},
    "eata": {"fisher_samples": 128},
    "note": {"convert_batch_norm": True},
    "adacontrast": {"queue_size": 64},
    "t3a": {"support_size": 5},
}
PROCESSES = multiprocessing.get_context("fork")  # packages are imported once, here


def main() -> int:
    """Kill, resume and compare as often as asked for; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=60, help="in all, over the methods")
    parser.add_argument("--methods", nargs="+", default=WANTED, metavar="NAME")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    torch.set_num_threads(1)
    moments = random.Random(options.seed)
    methods = [name for name in options.methods if name in METHODS]
    failures = 0
    for turn, method in enumerate(methods):
        kills = options.kills // len(methods) + (turn < options.kills % len(methods))
        with tempfile.TemporaryDirectory() as folder:
            failures += trial(method, kills, moments, Path(folder))
    print(f"{options.kills} kills in all, {failures} of the resumed runs differ", flush=True)
    return 1 if failures else 0


def trial(method: str, kills: int, moments: random.Random, folder: Path) -> int:
    """Kill ``method`` so often and return how many resumed runs differ."""
    whole = start(method, folder / "whole")
    began = time.perf_counter()
    whole.join()
    seconds = time.perf_counter() - began
    expected = records(folder / "whole")
    different = midway = 0
    for kill in range(kills):
        output = folder / str(kill)
        killed_once(method, output, seconds, moments, SIGNALS[kill % len(SIGNALS)])
        midway += any(output.rglob("state.pt"))
        resumed = start(method, output)
        resumed.join()
        fault = fault_of(resumed, records(output), expected)
        if fault:
            print(f"{method}, kill {kill} by {SIGNALS[kill % len(SIGNALS)].name}: {fault}")
        different += bool(fault)
    print(
        f"{method}: {kills} kills of a run of {seconds:.1f} s, {midway} of them with a "
        f"checkpoint to go on from; {kills - different} resumed to identical bytes",
        flush=True,
    )
    return different


def killed_once(
    method: str, output: Path, seconds: float, moments: random.Random, number: int
) -> None:
    """Start a run and kill it; where it was faster, start another with a new moment."""
    while True:
        process = start(method, output)
        process.join(moments.uniform(0, seconds))
        if process.is_alive():
            os.kill(process.pid, number)
        process.join()
        if not any(output.rglob("done")):
            return
        for file in sorted(output.rglob("*"), reverse=True):
            file.rmdir() if file.is_dir() else file.unlink()


def start(method: str, output: Path) -> BaseProcess:
    """Start or resume a short run in a process of its own."""
    config = RunConfig(
        method=method,
        set=SETTINGS.get(method, {}),
        domains=("gaussian_noise", "fog", "pixelate"),
        num_samples=150,
        batch_size=25,
        output=str(output),
        resume=True,
        checkpoint_every=1,
        no_cache=True,
    )
    process = PROCESSES.Process(target=_run, args=(config,))
    process.start()
    return process


def _run(config: RunConfig) -> None:
    quietly = contextlib.redirect_stderr
    with open(os.devnull, "w") as nowhere, quietly(nowhere), contextlib.suppress(Stopped):
        run(config)


def fault_of(resumed: BaseProcess, left: list[bytes], expected: list[bytes]) -> str:
    """Return how a resumed run differs from one that nobody killed; empty where it does not."""
    if resumed.exitcode != 0:
        return f"the resumed run ended with {resumed.exitcode}"
    if len(left) != len(expected):
        return f"it left {len(left)} records, not {len(expected)}"
    unlike = [
        name for name, one, other in zip(RECORDS, left, expected, strict=True) if one != other
    ]
    return f"unlike: {', '.join(unlike)}" if unlike else ""


def records(output: Path) -> list[bytes]:
    """Return the contents of the files that must be equal, in the order of their names."""
    return [file.read_bytes() for name in RECORDS for file in output.rglob(name)]


if __name__ == "__main__":
    raise SystemExit(main())
