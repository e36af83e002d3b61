"""The measurements of ``benchmarks/busy.py``: one network among neighbours, by how threads wait."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from tta.foundation.waiting import CHOSEN, choose_waiting

COMMAND = Path(__file__).parents[1] / "busy.py"
NEIGHBOUR = [sys.executable, "-c", "while True: pass"]
SETTLE, MEASURE = 1.5, 1.5
"""Seconds of steps before those that are timed, and of these at least."""


POLICIES = {
    "as OpenMP has it": {"OMP_WAIT_POLICY": "active", "GOMP_SPINCOUNT": "300000"},
    "passive": {"OMP_WAIT_POLICY": "passive"},
    "chosen": {},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
"""Variables of a process's environment; without any, it looks for itself when it starts."""
NETS = {
    "digits": "RMT on digits-c, test_resnet, 32 px, batch 64",
    "cifar": "Tent, cifar_resnet20, 32 px, batch 200",
    "resnet50": "alpha-BN, resnet50, 224 px, batch 16",
}


def step_of(net: str) -> tuple[Callable[[], object], int]:
    """Return a step of one of :data:`NETS` and its number of images."""
    if net == "digits":
        return _digits_step()
    from .subjects import subject

    name, batch, kind = {
        "cifar": ("cifar_resnet20", 200, "tent"),
        "resnet50": ("resnet50", 16, "bn_alpha"),
    }[net]
    case = subject(name, batch)
    method = case.method(kind)
    return lambda: method.step(case.images), batch


def _digits_step() -> tuple[Callable[[], object], int]:
    from tta.config import RunConfig
    from tta.experiment import build

    experiment = build(RunConfig(method="rmt", device="cpu", set={"warm_up_samples": 64}))
    experiment.method.start(experiment.source)
    images = next(iter(experiment.stream)).images
    return lambda: experiment.method.step(images), len(images)


def serve(net: str) -> None:
    """Time steps whenever a line comes in; print images per second and cores that were used."""
    choose_waiting()
    step, images = step_of(net)
    step()
    print("ready", flush=True)
    for _ in sys.stdin:
        _repeat(step, SETTLE)
        used = time.process_time()
        steps, seconds = _repeat(step, MEASURE)
        print(steps * images / seconds, (time.process_time() - used) / seconds, flush=True)


def _repeat(step: Callable[[], object], at_least: float) -> tuple[int, float]:
    started, steps, seconds = time.perf_counter(), 0, 0.0
    while seconds < at_least:
        step()
        steps, seconds = steps + 1, time.perf_counter() - started
    return steps, seconds


class Server:
    """A process that times steps: the policy is read when OpenMP is loaded.

    Args:
        net: one of :data:`NETS`.
        policy: of its threads.
    """

    def __init__(self, net: str, policy: dict[str, str]) -> None:
        unset = (*CHOSEN, "OMP_NUM_THREADS")
        kept = {name: value for name, value in os.environ.items() if name not in unset}
        words = [sys.executable, str(COMMAND), "--serve", net]
        pipe = subprocess.PIPE
        environment = kept | policy
        self.process = subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, env=environment)

    def answer(self) -> list[float]:
        """Return the numbers of the next line; none in the one that says it is ready."""
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("a timed process has ended")
        return [float(word) for word in line.split() if word != "ready"]

    def time(self) -> list[float]:
        """Return images per second and cores used."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.answer()


@contextlib.contextmanager
def servers(net: str) -> Iterator[dict[str, Server]]:
    """Give a process for each policy, when all are ready, and end them afterwards."""
    made = {}
    try:
        for name, policy in POLICIES.items():  # one by one: each looks at what the others do
            made[name] = Server(net, policy)
            made[name].answer()
        yield made
    finally:
        for server in made.values():
            server.process.kill()
            server.process.wait()


@contextlib.contextmanager
def neighbours(count: int) -> Iterator[None]:
    """Have programs that never rest beside what is done within."""
    started = [subprocess.Popen(NEIGHBOUR) for _ in range(count)]
    try:
        yield
    finally:
        for neighbour in started:
            neighbour.kill()
            neighbour.wait()


def measure(net: str, count: int, rounds: int) -> dict[str, list[list[float]]]:
    """Return images per second and cores used by policy, for every round; in rotated order."""
    taken: dict[str, list[list[float]]] = {name: [] for name in POLICIES}
    with neighbours(count), servers(net) as made:
        names = list(made)
        for number in range(rounds):
            shift = number % len(names)
            for name in names[shift:] + names[:shift]:
                taken[name].append(made[name].time())
    return taken


def row(net: str, count: int, taken: dict[str, list[list[float]]]) -> list[str]:
    """Return the line of the table: speed and cores by policy, and ratios of what is chosen."""
    speeds = {name: [speed for speed, _ in rounds] for name, rounds in taken.items()}
    cells = [
        f"{median(speeds[name]):.3g} ({median(cores for _, cores in rounds):.1f})"
        for name, rounds in taken.items()
    ]
    bases = ("as OpenMP has it", "passive")
    ratios = [f"{_ratio(speeds['chosen'], speeds[base]):.2f}" for base in bases]
    return [NETS[net], str(count), *cells, *ratios]


def _ratio(speeds: list[float], bases: list[float]) -> float:
    return median(speed / base for speed, base in zip(speeds, bases, strict=True))
