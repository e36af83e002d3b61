"""The harness itself: time per image around a stub model, flat memory, start-up."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import torch

from tta.experiment.observing.recorder import Recorder
from tta.reporting.records.run_directory import RunDirectory
from tta.streams import ScenarioOptions, plan_stream
from tta.streams.loop import evaluate
from tta.streams.stream import Batch, Stream

from .measure import MIB, Target, interleave, ratio, resident_bytes
from .subjects import Noise, Stub

LONG_STREAM = 1_000_000
CASES = ((1, 20_000, 150.0), (64, 200_000, None), (200, LONG_STREAM, 20.0))
"""Batch size, images, and most microseconds per image."""

Rows = tuple[list[list[str]], list[Target]]


class Watching(Recorder):
    """Notes the resident memory after a tenth of the stream and at the end."""

    early = late = 0

    def update(self, batch: Batch, outputs: torch.Tensor, counted: None = None) -> None:
        super().update(batch, outputs, counted)
        if not self.early and batch.stop >= len(self.plan) / 10:
            self.early = resident_bytes()
        if batch.stop == len(self.plan):
            self.late = resident_bytes()

    @property
    def growth(self) -> float:
        """MiB by which memory has grown in between."""
        return (self.late - self.early) / MIB


def stub_stream(batch_size: int, images: int) -> tuple[float, float]:
    """Return microseconds of one core per image, and memory growth in MiB."""
    dataset = Noise(images, 32)
    plan = plan_stream("recorded", dataset, ScenarioOptions())
    stream = Stream(dataset, plan, batch_size, memory_format=torch.channels_last)
    with tempfile.TemporaryDirectory() as folder:
        directory = RunDirectory(Path(folder) / "run")
        recorder = Watching(plan, stream.labels(), "logits", directory=directory)
        before = time.process_time()
        evaluate(Stub(), stream, recorder)
        recorder.close()
        spent = time.process_time() - before
    return 1e6 * spent / images, recorder.growth


def harness() -> Rows:
    """Measure every case on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    stub_stream(64, 5_000)
    rows, targets = [], []
    for batch_size, images, bound in CASES:
        microseconds, growth = stub_stream(batch_size, images)
        rows.append([str(batch_size), f"{images:,}", f"{microseconds:.1f}", f"{growth:.1f}"])
        if bound is not None:
            what = f"harness overhead per image, stub model, batch {batch_size}, one core"
            targets.append(Target(what, bound, microseconds, "µs"))
        if images == LONG_STREAM:
            what = f"resident memory growth over {images:,} stub images"
            targets.append(Target(what, 20, growth, "MiB", "after the first tenth"))
    torch.set_num_threads(threads)
    return rows, targets


def start_up() -> Rows:
    """Measure what the commands import and how long that takes."""
    commands = {
        "import torch": ["-c", "import torch"],
        "--help": ["-m", "tta.run", "--help"],
        "--list": ["-m", "tta.run", "--list"],
    }
    samples = interleave({name: _command(args) for name, args in commands.items()}, rounds=3)
    rows, targets = (
        [["`python -c 'import torch'`", f"{median(samples['import torch']):.2f}", "1", ""]],
        [],
    )
    for name, heavy in (("--help", "torch"), ("--list", "timm")):
        imported = heavy in imports(commands[name])
        relative = ratio(samples, name, "import torch")
        seconds = median(samples[name])
        note = f"{heavy} is imported" if imported else f"no {heavy}"
        rows.append([f"`python -m tta.run {name}`", f"{seconds:.2f}", f"{relative:.2f}", note])
        figure = (0.5, seconds, "s") if name == "--help" else (1.5, relative, "x `import torch`")
        bound, value, unit = figure
        # What must not be imported counts as a miss, however fast the machine is.
        targets.append(Target(f"`{name}`", bound, float("inf") if imported else value, unit, note))
    row, target = first_batch()
    return [*rows, row], [*targets, target]


def first_batch() -> tuple[list[str], Target]:
    """Measure how long a run on digits-c takes to its first batch."""
    method = f"{Path(__file__).parent / 'first_batch.py'}:FirstBatch"
    with tempfile.TemporaryDirectory() as folder:
        words = ["--dataset", "digits-c", "--device", "cpu", "--quiet", "--output", folder]
        calls = {
            "run": _command(["-m", "tta.run", "--method", method, *words, "--force"]),
            "imports": _command(["-c", "import torch, timm"]),
        }
        samples = interleave(calls, rounds=5)
    relative = ratio(samples, "run", "imports")
    what = "the first batch of a run on digits-c / `import torch, timm`"
    shown = [f"{median(samples['run']):.2f}", "", f"{relative:.2f} x `import torch, timm`"]
    return ["`python -m tta.run`, to its first batch", *shown], Target(what, 1.3, relative)


def _command(arguments: list[str]) -> object:
    def call() -> None:
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)

    return call


def imports(arguments: list[str]) -> set[str]:
    """Return the top-level modules that a command imports."""
    command = [sys.executable, "-X", "importtime", *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
