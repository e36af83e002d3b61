"""The measurements of ``benchmarks/speed.py``."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median

import torch
from torch.profiler import ProfilerActivity, profile
from tqdm import tqdm

from tta.foundation.errors import UserError
from tta.methods import METHODS, Method
from tta.reporting.tables import markdown

from . import compiled
from .measure import MIB, PeakWatch, Target, has_amx, interleave, machine, ratio
from .naive import NaiveRmt, float64_oracle
from .operations import operations
from .overhead import harness, start_up
from .shares import HEADER, profiled
from .subjects import Subject, subject

OUTPUT = Path("results/speed.md")
NCHW = torch.contiguous_format
STEP_NETS = (("cifar_resnet20", 200, 2), ("resnet50", 16, 1), ("vit_small_patch16_224", 16, 1))
"""Name, batch size, rounds."""
COSTLY = ("cotta", "memo", "ttaug")
"""Methods with dozens of passes per image; a sixteenth of the batch is enough for them."""

NOTES = """## Notes

- RMT in bf16 cannot be faster than the network's own forward and backward pass, the last line of
  RMT's table. Its convolutions gain most; batch norm and ReLU are bound by memory, of which bf16
  needs half at best. Fusing them with the convolutions could bring more; nothing here does it.
- Methods that act once per so many images (CEMA's cloud, RoTTA's update every 64 images) show
  what their first batches happened to need. CoTTA, MEMO and TTAug were timed on a sixteenth of the
  batch, per image, and without their memory.
- `bn` and all methods that train through batch statistics use torch's training kernel, with which
  their outputs equal those of the authors' code to the bit on one thread. On channels-last arrays
  it adds up float32 values one by one; `bn_alpha` takes its moments from a folded view instead,
  which is closer to float64 and faster.
- Two threads: six steps of RMT on digits-c, without warm-up, gave the same bits in three processes
  (1,614 layer outputs and gradients compared). Whole runs have differed by 0.15 points; the
  operation where they part was not found. With one thread runs repeat to the bit.
- `python -m pytest -m slow -k bf16` runs RMT on the recorded CIFAR-10-C stream in bf16 and fp32,
  three seeds each, 2,000 images of warm-up: when last run, mean errors were 24.59 and 24.62 %.
"""

ORACLE_NETS = ("resnet50", "efficientnet_b0", "regnety_002", "resnetv2_50", "densenet121")


@dataclass
class Section:
    """What a part of the measurements found.

    Attributes:
        targets: lines of the first table.
        title: heading of its own table.
        header: columns of that table.
        rows: lines of that table.
    """

    title: str
    header: list[str]
    rows: list[list[str]] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)

    def render(self) -> str:
        """Return heading and table."""
        return f"## {self.title}\n\n{markdown(self.header, self.rows)}\n"


def batch_norm() -> Section:
    """Forward passes with mixed statistics beside evaluation mode."""
    section = Section(
        "Batch-norm statistics: forward pass relative to evaluation mode",
        ["network", "layout", "evaluation, ms", "bn", "bn_alpha"],
    )
    cases = (
        (subject("resnet50", 16), 1.20),
        (subject("cifar_resnet20", 200), 1.25),
        (subject("cifar_resnet20", 200, memory_format=NCHW), 1.45),
        (subject("lraspp:tf_efficientnet_lite0", 1), 1.20),
    )
    for case, bound in cases:
        methods = {name: case.method(name) for name in ("source", "bn", "bn_alpha")}
        calls = {name: _step(method, case) for name, method in methods.items()}
        samples = interleave(calls, rounds=7)
        layout = "NCHW" if case.memory_format is NCHW else "channels_last"
        ratios = {name: ratio(samples, name, "source") for name in ("bn", "bn_alpha")}
        section.targets.append(
            Target(
                f"bn_alpha / evaluation forward, {case.title}, {layout}", bound, ratios["bn_alpha"]
            )
        )
        shown = [f"{value:.2f}" for value in ratios.values()]
        section.rows.append([case.title, layout, _milliseconds(samples["source"]), *shown])
    return section


def accuracy() -> Section:
    """Distance of bn_alpha's logits from those of a float64 model, relative to their scale."""
    section = Section(
        "Error of logits against a float64 oracle, relative to their scale",
        ["network", "bn_alpha, channels_last", "bn_alpha, NCHW", "bn, channels_last"],
    )
    worst = 0.0
    for name in ORACLE_NETS:
        case, plain = subject(name, 4), subject(name, 4, memory_format=NCHW)
        *mixed, alone = [
            *oracle_errors([case, plain], target_weight=0.3),
            *oracle_errors([case], target_weight=1.0),
        ]
        worst = max(worst, *mixed)
        section.rows.append([name, *(f"{error:.1e}" for error in (*mixed, alone))])
    what = "bn_alpha error against a float64 oracle, worst of five networks and two layouts"
    section.targets.append(Target(what, 1e-5, worst))
    return section


@torch.no_grad()
def oracle_errors(cases: list[Subject], target_weight: float) -> list[float]:
    """Return the largest difference of logits in each case, as a fraction of the largest logit.

    The cases are one network in several layouts; a target weight of 1 is bn.
    """
    expected = float64_oracle(cases[0].backbone, target_weight)(cases[0].images.double())
    methods = [case.method("bn_alpha", target_weight=target_weight) for case in cases]
    return [
        float((method.step(case.images).double() - expected).abs().max() / expected.abs().max())
        for method, case in zip(methods, cases, strict=True)
    ]


def ops() -> Section:
    """Each operation beside its naive form."""
    section = Section(
        "Operations relative to their naive forms (`timing/naive.py`)",
        ["operation", "ms", "ratio", "extra memory, MiB", "naive: MiB"],
    )
    for operation in operations():
        row, targets = operation.measure()
        section.rows.append(row)
        section.targets += targets
    return section


def rmt() -> Section:
    """The step of RMT beside a naive one, and in bfloat16 beside float32."""
    section = Section("RMT's step", ["network", "what", "s", "relative to", "ratio"])
    case, plain = subject("cifar_resnet20", 200), subject("cifar_resnet20", 200, memory_format=NCHW)
    calls = {
        "here": _step(case.method("rmt"), case),
        "naive": _step(plain.start(NaiveRmt), plain),
    }
    value = _compare(section, case, calls, "fp32, NCHW, loops, repeats (`timing/naive.py`)")
    section.targets.append(
        Target(f"rmt step, {case.title}, fp32 / the same step written naively", 0.85, value)
    )
    case = subject("resnet50", 16)
    half = subject("resnet50", 16, precision=torch.bfloat16)
    calls = {"bf16": _step(half.method("rmt"), half), "fp32": _step(case.method("rmt"), case)}
    value = _compare(section, case, calls, "fp32")
    name = "bf16, network alone, forward and backward"
    _compare(section, case, {name: _training_pass(half), "fp32": _training_pass(case)}, "fp32")
    what, note = f"rmt step, {case.title}, bf16 / fp32, on a CPU with AMX", ""
    if not has_amx():
        value, note = None, f"this CPU has no AMX; here the ratio is {value:.2f}"
    section.targets.append(Target(what, 0.45, value, note=note))
    return section


def _training_pass(case: Subject) -> Callable[[], object]:
    """Return a forward in training mode and its backward: what no method can be faster than."""
    backbone = case.backbone.clone().requires_grad_(True)
    backbone.model.train()
    return lambda: backbone(case.images).sum().backward()


def _compare(section: Section, case: Subject, calls: dict[str, Callable], base: str) -> float:
    """Add the row of the first call, relative to the second; return the ratio."""
    first, second = calls
    samples = interleave(calls, rounds=3, seconds=45.0)
    value = ratio(samples, first, second)
    shown = f"{float(_milliseconds(samples[first])) / 1e3:.2f}"
    section.rows.append([case.title, first, shown, base, f"{value:.2f}"])
    return value


def steps() -> Section:
    """Every method's step on every network, relative to the source model's forward."""
    cases = [(subject(name, batch), rounds) for name, batch, rounds in STEP_NETS]
    title = "A step of every method, relative to the source model's forward (memory beyond its)"
    section = Section(title, ["method", *(case.title for case, _ in cases)])
    for name in tqdm(METHODS, desc="methods"):
        section.rows.append([name, *(_step_ratio(name, case, rounds) for case, rounds in cases)])
    return section


def _step_ratio(name: str, case: Subject, rounds: int) -> str:
    """Return a step's time relative to a forward pass just before it, and its memory beyond that's.

    Memory is that of the first step, which also makes what stays, such as an optimiser's moments.
    """
    try:
        method = case.method(name)
    except UserError:  # it needs something that the network does not have
        return "-"
    share = 16 if name in COSTLY else 1
    step = partial(method.step, case.images[: len(case.images) // share])
    source = _step(case.method("source"), case)
    with PeakWatch() as alone:
        source()  # untimed: the system hands out memory anew
    before = _seconds(source)
    with PeakWatch(alone.before) as watch:
        ratios = [share * _seconds(step) / before]
    for _ in range(rounds - 1):
        before = _seconds(source)
        ratios.append(share * _seconds(step) / before)
    shown = f"{median(ratios):.2f}"
    if watch.rise is not None and share == 1:
        shown += f" ({(watch.rise - alone.rise) / MIB:+.0f} MiB)"
    return shown


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _step(method: Method, case: Subject) -> Callable[[], object]:
    return lambda: method.step(case.images)


def _milliseconds(samples: list[float]) -> str:
    return f"{1e3 * sorted(samples)[len(samples) // 2]:.3g}"


def compiled_section() -> Section:
    """Compiled and folded networks, relative to those as they are."""
    section = Section("Compiled and folded networks", compiled.HEADER)
    section.rows, section.targets = compiled.measurements()
    return section


def harness_section() -> Section:
    """What the loop costs around a method that costs nothing."""
    section = Section(
        "The harness around a stub model, on one core",
        ["batch size", "images", "µs per image", "memory growth, MiB"],
    )
    section.rows, section.targets = harness()
    return section


def start_section() -> Section:
    """How long the command takes before it does anything."""
    section = Section("Start-up", ["command", "s", "relative to `import torch`", "imports"])
    section.rows, section.targets = start_up()
    return section


def profile_section() -> Section:
    """Where the time of the mean teachers' steps goes."""
    section = Section("Where the time of a step goes, on one thread", HEADER)
    section.rows, section.targets = profiled()
    return section


SECTIONS: dict[str, Callable[[], Section]] = {
    "batch_norm": batch_norm,
    "accuracy": accuracy,
    "ops": ops,
    "rmt": rmt,
    "compiled": compiled_section,
    "harness": harness_section,
    "start": start_section,
    "profile": profile_section,
    "steps": steps,
}


def report(names: list[str]) -> str:
    """Measure the named sections, print each as it is done, and return the report."""
    started = time.perf_counter()
    sections = []
    for name in names:
        sections.append(SECTIONS[name]())
        print(f"{sections[-1].render()}\n{_targets(sections[-1:])}\n", flush=True)
    minutes = (time.perf_counter() - started) / 60
    parts = [
        f"# Speed\n\n`python benchmarks/speed.py`\n\n{machine()}; {minutes:.0f} minutes. "
        "Random weights, synthetic images; interleaved in one process, medians; of the methods' "
        "steps two on the small network and one on each large.\n",
        f"## Targets\n\n{_targets(sections)}\n",
        *(section.render() for section in sections),
        NOTES,
    ]
    return "\n".join(parts)


def _targets(sections: list[Section]) -> str:
    rows = [target.row() for section in sections for target in section.targets]
    return markdown(["what", "at most", "measured", "", "note"], rows)


def write_trace(name: str) -> Path:
    """Profile three steps of a method on cifar_resnet20 and return the trace's path."""
    case = subject("cifar_resnet20", 200)
    call = _step(case.method(name), case)
    call()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        for _ in range(3):
            call()
    print(profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=25))
    path = OUTPUT.parent / f"trace_{name}.json"
    path.parent.mkdir(exist_ok=True)
    profiler.export_chrome_trace(str(path))
    return path
