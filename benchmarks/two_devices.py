"""The same runs on a CPU and on a GPU: errors, and how far single answers are apart.

    python benchmarks/two_devices.py run cpu FOLDER [--workers N] [--methods NAME ...]
    python benchmarks/two_devices.py run cuda OTHER
    python benchmarks/two_devices.py compare FOLDER OTHER     # writes results/two_devices.md

Every method with a network of its kind on digits-c, 15 corruptions in turn (DRM on digits-r),
hyper-parameters of the presets. The two folders may come from two machines. Draws of a method are
those of a host's generator on one and of the GPU's on the other, so that methods that draw on their
device see other random numbers.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from timing.gpu_checks import UNTRAINED, Nets

from tta.config import RunConfig
from tta.foundation.files import write_atomically
from tta.methods import METHODS
from tta.reporting.tables import markdown
from tta.sweeps.grid import Cell
from tta.sweeps.local import run_locally

OUTPUT = Path("results/two_devices.md")
NETS = Nets(convolutional="test_resnet.r160_in1k")
"""Networks that come with the package, with weights trained on its digits."""
LEFT_OUT = ("atlas", "rws", "onzeta", "watt")
"""Want files, or words, that do not come with the package."""
NOT_SO_TRAINED = ("note", "vida")
"""Want networks that were trained for them, and get what stands for that."""
OPTIONS = {"drm": {"dataset": "digits-r"}}
HEADER = [
    "method",
    "network",
    "error % on a CPU",
    "on a GPU",
    "right on one alone",
    "of",
    "confidence apart by",
]
HEAD = """# The same runs on a CPU and on a GPU

`python benchmarks/two_devices.py run cpu FOLDER`, `run cuda OTHER`, `compare FOLDER OTHER`

digits-c (drm: digits-r), 15 corruptions in turn, {count} images each, batches of 50, seed 1,
presets where there are any, float32. Draws of a method come from a generator of its device:
methods that draw there see other random numbers. First: {here}. Second: {there}.
"""


def main() -> int:
    """Run, or compare what two devices have run; return 1 where a run failed."""
    options = arguments().parse_args()
    if options.command == "run":
        return run(options)
    text = render(Path(options.folder), Path(options.other))
    write_atomically(OUTPUT, text)
    print(text)
    return 0


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run", help="run every method on a device")
    running.add_argument("device")
    running.add_argument("folder")
    running.add_argument("--workers", type=int, default=1, metavar="N")
    running.add_argument("--methods", nargs="+", metavar="NAME", help="these alone")
    running.add_argument("--num-samples", type=int, default=50, help="of each corruption")
    comparing = commands.add_parser("compare", help="write the table of two folders of runs")
    comparing.add_argument("folder")
    comparing.add_argument("other")
    return parser


def run(options: argparse.Namespace) -> int:
    """Run what has not been run; return 1 where a run failed."""
    names = options.methods or [name for name in METHODS if name not in LEFT_OUT]
    cells = [Cell(name, config(name, options)) for name in names]
    failed = [outcome for outcome in run_locally(cells, options.workers) if not outcome.finished]
    for outcome in failed:
        print(f"{outcome.cell.name}: {outcome.error}", file=sys.stderr)
    return 1 if failed else 0


def config(name: str, options: argparse.Namespace) -> RunConfig:
    """Return the run of a method."""
    values = {
        "dataset": "digits-c",
        "backbone": NETS.for_method(name),
        "set": UNTRAINED[name] if name in NOT_SO_TRAINED else {},
        "num_samples": options.num_samples,
        "batch_size": 50,
    }
    return RunConfig(
        **{**values, **OPTIONS.get(name, {})},
        method=name,
        device=options.device,
        output=options.folder,
        resume=True,
    )


@dataclass(frozen=True)
class Record:
    """What is compared of a run: its summary, and of each image two figures."""

    summary: dict[str, Any]
    correct: np.ndarray
    confidence: np.ndarray


def records(folder: Path) -> dict[str, Record]:
    """Return the runs in a folder by method."""
    found = {}
    for file in sorted(folder.rglob("summary.json")):
        summary = json.loads(file.read_text())
        if not summary["finished"]:
            continue
        with np.load(file.with_name("samples.npz")) as samples:
            found[summary["method"]] = Record(summary, samples["correct"], samples["confidence"])
    return found


def render(folder: Path, other: Path) -> str:
    """Return the page that compares two folders of runs."""
    here, there = records(folder), records(other)
    both = [name for name in METHODS if name in here and name in there]
    if not both:
        raise SystemExit(f"error: no method has finished in both {folder} and {other}; run them")
    rows = [row(name, here[name], there[name]) for name in both]
    some = here[both[0]].summary, there[both[0]].summary
    devices = [device(summary) for summary in some]
    count = some[0]["domains"][0]["samples"]
    head = HEAD.format(count=count, here=devices[0], there=devices[1])
    return f"{head}\n{markdown(HEADER, rows)}\n"


def row(name: str, here: Record, there: Record) -> list[str]:
    """Return a line of the table."""
    errors = [f"{100 * record.summary['mean_error']:.2f}" for record in (here, there)]
    if here.correct.shape != there.correct.shape:
        raise SystemExit(f"error: {name} saw other numbers of images; give both one --num-samples")
    differ = int((here.correct != there.correct).sum())
    apart = float(np.abs(here.confidence - there.confidence).max())
    counts = [str(differ), str(len(here.correct))]
    return [name, here.summary["backbone"], *errors, *counts, f"{apart:.0e}"]


def device(summary: dict[str, Any]) -> str:
    """Return on what a run was made, in words."""
    facts = summary["environment"]
    return f"{facts['device_name']}, torch {facts['torch']}"


if __name__ == "__main__":
    raise SystemExit(main())
