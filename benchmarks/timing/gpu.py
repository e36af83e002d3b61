"""The measurements of ``benchmarks/cuda.py``.

Weights are random and images synthetic. Matrix products are in full float32 (no TF32), so that
both devices compute the same.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from tta.foundation.errors import UserError
from tta.methods import METHODS, Method
from tta.ops.ema import ema_update
from tta.reporting.tables import markdown

from . import naive
from .measure import MIB, interleave, machine, ratio
from .subjects import Subject, subject
from .syncs import DOCUMENTED

OUTPUT = Path("results/cuda.md")
NETS = (("cifar_resnet20", 200), ("resnet50", 64), ("vit_small_patch16_224", 64))
HALVES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def available(case: Subject) -> Iterator[tuple[str, Method]]:
    """Yield every method that suits the network, started."""
    for name in METHODS:
        try:
            method = case.method(name)
        except UserError:
            continue
        yield name, method


def parity(name: str, batch: int, device: torch.device, steps: int = 2) -> list[list[str]]:
    """Return per method the largest difference of its outputs from the CPU's, by step.

    Relative to the largest output. The first step shows the forward pass; what comes after it
    also differs where a method draws random numbers on the device.
    """
    cases = subject(name, batch), subject(name, batch, device=device)
    rows = []
    for (method_name, here), (_, there) in zip(*map(available, cases), strict=True):
        differences = []
        for _ in range(steps):
            expected = here.step(cases[0].images)
            found = there.step(cases[1].images).to("cpu")
            differences.append(float((found - expected).abs().max() / expected.abs().max()))
        rows.append([method_name, *(f"{value:.1e}" for value in differences)])
    return rows


@contextmanager
def waits_are_errors(device: torch.device) -> Iterator[None]:
    """Raise where the host would wait for the device; does nothing on a CPU."""
    if device.type != "cuda":
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def waits(case: Subject) -> list[list[str]]:
    """Return per method whether its steps run without waiting for the device."""
    rows = []
    for name, method in available(case):
        method.step(case.images)  # allocations and algorithm choices of the first step
        try:
            with waits_are_errors(case.images.device):
                for _ in range(3):
                    method.step(case.images)
                    method.count()
            found = "none"
        except RuntimeError as error:
            found = (str(error).splitlines() or ["?"])[0]
        documented = ", ".join(sorted({place for _, place in DOCUMENTED.get(name, set())}))
        rows.append([name, found, documented or "-"])
    return rows


@torch.no_grad()
def captured(method: Method, images: Tensor) -> Callable[[Tensor], Tensor]:
    """Capture a method's forward pass in a CUDA graph; return what replays it on new images."""
    static = images.clone()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            method.predict(static)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = method.predict(static)

    def replay(batch: Tensor) -> Tensor:
        static.copy_(batch)
        graph.replay()
        return outputs.clone()

    return replay


def graph_capture(case: Subject) -> list[list[str]]:
    """Return how far a replayed alpha-BN forward is from the eager one, and their times."""
    method = case.method("bn_alpha")
    replay = captured(method, case.images)
    batch = case.images.flip(0)
    difference = float((replay(batch) - method.predict(batch)).abs().max())
    calls = {"graph": lambda: replay(batch), "eager": lambda: method.predict(batch)}
    samples = interleave(synchronised(calls, batch.device), rounds=20)
    return [[case.title, f"{difference:.1e}", f"{ratio(samples, 'graph', 'eager'):.2f}"]]


def synchronised(
    calls: dict[str, Callable[[], object]], device: torch.device
) -> dict[str, Callable[[], object]]:
    """Return calls that end when the device has finished them."""

    def wait(call: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            call()
            if device.type == "cuda":
                torch.cuda.synchronize(device)

        return run

    return {name: wait(call) for name, call in calls.items()}


def steps(case: Subject) -> list[list[str]]:
    """Return per method its time relative to the source's, images per second, peak memory."""
    device = case.images.device
    methods = dict(available(case))
    calls = {name: lambda m=method: m.step(case.images) for name, method in methods.items()}
    samples = interleave(synchronised(calls, device), rounds=10, seconds=90.0)
    rows = []
    for name, call in calls.items():
        per_second = len(case.images) / median(samples[name])
        relative = ratio(samples, name, "source")
        rows.append([name, f"{relative:.2f}", f"{per_second:.0f}", peak_memory(call, device)])
    return rows


def peak_memory(call: Callable[[], object], device: torch.device) -> str:
    """Return the memory in MiB that a call needs on a GPU beside what is there already."""
    if device.type != "cuda":
        return ""
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    call()
    return f"{(torch.cuda.max_memory_allocated(device) - before) / MIB:.0f}"


def ema(case: Subject) -> list[list[str]]:
    """Return the time of an EMA update relative to a loop over parameters."""
    current = list(case.backbone.parameters())
    average = list(copy.deepcopy(case.backbone).parameters())
    calls = {
        "here": lambda: ema_update(average, current, 0.999),
        "naive": lambda: naive.ema_update(average, current, 0.999),
    }
    samples = interleave(synchronised(calls, case.images.device), rounds=20)
    return [[case.backbone.name, f"{ratio(samples, 'here', 'naive'):.3f}"]]


def precisions(name: str, batch: int, device: torch.device) -> list[list[str]]:
    """Return the time of RMT's step in each precision, relative to fp32, and peak memory."""
    calls = {}
    for label, precision in HALVES.items():
        case = subject(name, batch, device=device, precision=precision)
        method = case.method("rmt")
        calls[label] = lambda m=method, images=case.images: m.step(images)
    samples = interleave(synchronised(calls, device), rounds=5)
    return [
        [name, label, f"{ratio(samples, label, 'fp32'):.2f}", peak_memory(call, device)]
        for label, call in calls.items()
    ]


def report(device: torch.device, nets: tuple[tuple[str, int], ...] = NETS) -> str:
    """Run every part and return the report."""
    cases = [subject(name, batch, device=device) for name, batch in nets]
    first_name, first_batch = nets[0]
    parts = {
        "Difference from the CPU, relative to the largest output": markdown(
            ["method", "first step", "second step"], parity(first_name, first_batch, device)
        ),
        "Waits for the device in a step (`set_sync_debug_mode`)": markdown(
            ["method", "found", "documented, in"], waits(cases[0])
        ),
        "EMA update, relative to a loop": markdown(["network", "ratio"], ema(cases[-1])),
        "RMT's step by precision": markdown(
            ["network", "precision", "relative to fp32", "extra memory, MiB"],
            [row for name, batch in nets for row in precisions(name, batch, device)],
        ),
    }
    if device.type == "cuda":
        parts["alpha-BN forward in a CUDA graph"] = markdown(
            ["network", "largest difference", "time relative to eager"],
            [row for case in cases[:2] for row in graph_capture(case)],
        )
    for case in cases:
        parts[f"Steps: {case.title}"] = markdown(
            ["method", "relative to source", "images/s", "extra memory, MiB"], steps(case)
        )
    sections = "\n".join(f"## {title}\n\n{table}\n" for title, table in parts.items())
    return f"# CUDA\n\n`python benchmarks/cuda.py`\n\n{_devices(device)}\n\n{sections}"


def _devices(device: torch.device) -> str:
    if device.type != "cuda":
        return machine()
    facts = torch.cuda.get_device_properties(device)
    return (
        f"{facts.name}, {facts.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}, "
        f"cuDNN {torch.backends.cudnn.version()}; host: {machine()}"
    )


def main() -> int:
    """Write the report, or say that there is no GPU; return the exit status."""
    if not torch.cuda.is_available():
        print(
            "error: benchmarks/cuda.py needs a CUDA device and there is none here; "
            "python benchmarks/speed.py measures the CPU",
            file=sys.stderr,
        )
        return 2
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    text = report(torch.device("cuda"))
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(text)
    print(text)
    return 0
