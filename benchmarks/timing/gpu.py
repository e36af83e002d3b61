"""The command of ``benchmarks/cuda.py``: its parts, their order and their time.

Weights are random and images synthetic. Matrix products are in full float32, so that both devices
compute the same; TF32 and bfloat16 have columns of their own.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import torch

from tta.methods import METHODS, find_method

from . import gpu_checks, gpu_speed
from .gpu_report import Part, Report, Row, Unit
from .measure import machine
from .subjects import Subject, subject

COMPILED = ("source", "bn_alpha", "tent", "rmt")


@dataclass(frozen=True)
class Plan:
    """What is measured, and how large.

    Attributes:
        device: to measure.
        methods: names.
        nets: for speed, with their batch sizes.
        small: networks for comparison with the CPU.
        batch: of these.
        rounds: of timing, at most.
    """

    device: torch.device
    methods: Sequence[str]
    nets: tuple[tuple[str, int], ...] = (
        ("resnet50", 64),
        ("cifar_resnet20", 200),
        ("vit_small_patch16_224", 64),
        ("digits_clip", 64),
    )
    small: gpu_checks.Nets = gpu_checks.Nets()
    batch: int = 16
    rounds: int = 20

    def case(self, net: str, batch: int) -> Subject:
        """Return a network and images for it on the device."""
        return subject(net, batch, device=self.device)


def rehearsal(device: torch.device, methods: Sequence[str]) -> Plan:
    """Return a plan of the same parts on networks that take no time."""
    return Plan(device, methods, (("cifar_resnet20", 2),), batch=2, rounds=1)


def parts(plan: Plan) -> list[Part]:
    """Return the parts in their order, what must hold before what is fast."""
    header = ["step 1", "step 2", "step 3", "rounding alone", "parameters, step 1"]
    made = [
        Part("Difference from the CPU", ["method", *header], 0.2, partial(_agreement, plan)),
        Part(
            "alpha-BN forward in a CUDA graph",
            ["network", "largest difference", "time relative to eager"],
            0.05,
            partial(_per_net, plan, "bn_alpha", gpu_checks.graph_capture),
        ),
        Part(
            "Steps as CUDA graphs",
            ["method", "largest difference", "time relative to eager"],
            0.05,
            partial(_step_graphs, plan),
        ),
        Part(
            "Compiled steps",
            ["step", "plain, ms", "compiled", "compiled, in a graph", "outputs apart by"],
            0.1,
            partial(_compiled, plan),
        ),
        Part(
            "Waits for the device in a step",
            ["method", "in", "of these not explained in the code"],
            0.1,
            partial(_waits, plan),
        ),
        Part(
            "Batch norm: forward pass relative to evaluation mode",
            ["network", "evaluation, ms", "bn_alpha", "folded"],
            0.05,
            partial(_per_net, plan, "bn_alpha", partial(gpu_speed.batch_norm, rounds=plan.rounds)),
        ),
        Part(
            "RMT's step",
            ["network", "arithmetic", "ms", "relative to fp32"],
            0.1,
            partial(_per_net, plan, "rmt", partial(gpu_speed.rmt, rounds=plan.rounds)),
        ),
    ]
    for net, batch in plan.nets:
        title = f"Images per second, and MiB: {net}, batch {batch}"
        measure = partial(gpu_speed.throughput, rounds=plan.rounds)
        units = partial(_per_method, plan, net, batch, measure)
        header = ["method", *gpu_speed.ARITHMETIC, "kept", "more in a step"]
        made.append(Part(title, header, 0.35 / len(plan.nets), units))
    return made


def _agreement(plan: Plan) -> Iterator[Unit]:
    for name in plan.methods:
        net = plan.small.for_method(name)
        yield name, partial(gpu_checks.agreement, name, net, plan.batch, plan.device)


def _step_graphs(plan: Plan) -> Iterator[Unit]:
    net, batch = plan.nets[min(1, len(plan.nets) - 1)]
    for name in plan.methods:
        if find_method(name).capturable:
            yield name, lambda name=name: gpu_checks.step_graph(name, plan.case(net, batch))


def _compiled(plan: Plan) -> Iterator[Unit]:
    net, batch = plan.nets[0]
    for name in COMPILED:
        if name in plan.methods:
            yield name, lambda name=name: gpu_checks.compiled_steps(name, plan.case(net, batch))


def _per_net(plan: Plan, method: str, measure: Callable[[Subject], list[Row]]) -> Iterator[Unit]:
    for net, batch in plan.nets:
        if plan.small.suits(method, net):
            yield net, lambda net=net, batch=batch: measure(plan.case(net, batch))


def _waits(plan: Plan) -> Iterator[Unit]:
    for name in plan.methods:
        net = plan.small.for_method(name)
        yield name, lambda name=name, net=net: gpu_checks.waits(name, plan.case(net, plan.batch))


def _per_method(
    plan: Plan, net: str, batch: int, measure: Callable[[str, Subject], list[Row]]
) -> Iterator[Unit]:
    case = cache(lambda: plan.case(net, batch))  # made by the first row, and anew if that fails
    for name in plan.methods:
        if plan.small.suits(name, net):
            yield name, lambda name=name: measure(name, case())


def _devices(device: torch.device) -> str:
    if device.type != "cuda":
        return machine()
    facts = torch.cuda.get_device_properties(device)
    return (
        f"{facts.name}, {facts.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}, "
        f"cuDNN {torch.backends.cudnn.version()}; host: {machine()}"
    )


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", help="cuda, or cpu to try the command")
    parser.add_argument("--seconds", type=float, default=480.0, help="for everything")
    parser.add_argument(
        "--output",
        type=Path,
        help="the report, or its folder; default: results/cuda_report.md, $OUT/cuda_report.md "
        "where that is set, and for --rehearse a temporary file",
    )
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="these alone")
    parser.add_argument("--only", nargs="+", type=int, metavar="N", help="these parts, from 1")
    parser.add_argument("--rehearse", action="store_true", help="small networks, one round")
    return parser


def chosen(made: list[Part], numbers: Sequence[int] | None) -> list[Part]:
    """Return the parts of these numbers, from 1, which share all the time; None for every one."""
    if numbers is None:
        return made
    left = [part for number, part in enumerate(made, 1) if number in numbers]
    whole = sum(part.share for part in left)
    return [replace(part, share=part.share / whole) for part in left]


def usual_output(is_rehearsal: bool) -> Path:
    """Return where the report goes unless somebody says so."""
    folder = tempfile.gettempdir() if is_rehearsal else os.environ.get("OUT", "results")
    return Path(folder, "cuda_report.md")


def main(given: Sequence[str] | None = None) -> int:
    """Write the report, or say that there is no GPU; return the exit status."""
    options = arguments().parse_args(given)
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print(
            "error: benchmarks/cuda.py needs a CUDA device and there is none here; --device cpu "
            "--rehearse tries the command, python benchmarks/speed.py measures the CPU",
            file=sys.stderr,
        )
        return 2
    methods = options.methods or list(METHODS)
    plan = rehearsal(device, methods) if options.rehearse else Plan(device, methods)
    heading = f"# CUDA\n\n`python benchmarks/cuda.py`\n\n{_devices(device)}\n"
    report = Report(options.output or usual_output(options.rehearse), heading, options.seconds)
    with gpu_speed.tensor_float_32(False):
        report.run(chosen(parts(plan), options.only))
    print(report.path.read_text())
    return 0
