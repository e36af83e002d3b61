"""The authors' recorded figures on a real CIFAR-10-C stream, and ours.

    TTA_TEST_ASSETS=/path/to/data python benchmarks/parity.py [--workers N] [FIGURE ...]

writes results/parity.md; `--device cuda --output results/parity_cuda.md` runs on a GPU. Theirs is
the mean of the seeds that were recorded, one or two; ours is that over our seeds of the same
stream, network, batch size and hyper-parameters. Runs are kept below results/runs, so an
interrupted command continues.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from tta.config import RunConfig
from tta.foundation.files import write_atomically
from tta.reporting.tables import markdown
from tta.sweeps.grid import Cell
from tta.sweeps.local import run_locally

OUTPUT = Path("results/parity.md")
ONE, THREE = (1,), (1, 2, 3)


HEADER = ["figure", "seeds", "ours", "theirs", "difference", "bound", "within", "worst domain"]
HEAD = """# Parity with the authors' code

`python benchmarks/parity.py{on}`

Mean online error in % over the 15 corruptions of the recorded CIFAR-10-C stream (1,000 images each,
severity 5, cifar_resnet20, batch size 200, no reset). Theirs is the authors' code, one run
(RMT and ROID: the mean of two); ours is one run where a method draws nothing at random, else mean ±
standard deviation over three seeds.
Differences and bounds are in points; the last column is the greatest difference of one corruption.
"""


@dataclass(frozen=True)
class Figure:
    """Errors in percent: the mean and those of the domains."""

    mean: float
    domains: np.ndarray


@dataclass(frozen=True)
class Subject:
    """A figure of the authors' code and how it is made here.

    Attributes:
        method: name here.
        bound: greatest difference of the mean errors, in points.
        seeds: of ours; one where the method draws nothing at random.
        params: hyper-parameters beside the preset's.
    """

    method: str
    bound: float
    seeds: tuple[int, ...] = ONE
    params: dict[str, Any] = field(default_factory=dict)


SUBJECTS = {
    "source": Subject("source", 0.1),
    "bn": Subject("bn", 0.1),
    "bn_alpha_0.1": Subject("bn_alpha", 0.1, params={"target_weight": 0.1, "compat": True}),
    "bn_alpha_0.5": Subject("bn_alpha", 0.1, params={"target_weight": 0.5, "compat": True}),
    "bn_ema": Subject("bn_ema", 0.1),
    "lame_rbf5": Subject("lame", 0.1, params={"affinity": "rbf", "k": 5}),
    "lame_knn5": Subject("lame", 0.1, params={"affinity": "knn", "k": 5}),
    "lame_knn1": Subject("lame", 0.1, params={"affinity": "knn", "k": 1}),
    "tent": Subject("tent", 0.1),
    "eta": Subject("eta", 0.2),
    "sar": Subject("sar", 0.2),
    "rpl": Subject("rpl", 0.2),
    "eata": Subject("eata", 1.0, THREE, {"compat": True}),
    "rdumb": Subject("rdumb", 1.0, THREE),
    "deyo": Subject("deyo", 1.0, THREE),
    "roid": Subject("roid", 1.0, THREE),
    "cmf": Subject("cmf", 1.0, THREE),
    "santa": Subject("santa", 1.0, THREE),
    "rotta": Subject("rotta", 1.0, THREE),
    "rmt": Subject("rmt", 1.0, THREE, {"warm_up_samples": 10_000}),
    "rmt_sourcefree": Subject("rmt", 1.0, THREE, {"warm_up_samples": 0, "lambda_source": 0.0}),
    "cotta": Subject("cotta", 1.0, THREE),
}
"""By name of the figure."""


def main() -> int:
    """Run what has not been run and write the table; return 1 where a difference is too large."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help=f"of {', '.join(SUBJECTS)}")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="runs at a time")
    parser.add_argument("--device", default="cpu", help="as of tta.run (default: cpu)")
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="FILE")
    options = parser.parse_args()
    if unknown := set(options.figures) - set(SUBJECTS):
        parser.error(f"no figure {', '.join(sorted(unknown))}; there are {', '.join(SUBJECTS)}")
    assets = os.environ.get("TTA_TEST_ASSETS")
    if not assets:
        parser.error("set TTA_TEST_ASSETS to the folder of the recorded stream")
    theirs = read_figures(Path(assets, "reference", "figures.json"))
    cells = {
        (name, seed): Cell(
            f"{name}, seed {seed}", config(SUBJECTS[name], seed, assets, options.device)
        )
        for name in options.figures or SUBJECTS
        for seed in SUBJECTS[name].seeds
    }
    found, failed = run_all(list(cells.values()), options.workers)
    errors = {key: found[cell.name] for key, cell in cells.items() if cell.name in found}
    lines = [compare(name, errors, theirs[name]) for name in dict.fromkeys(n for n, _ in errors)]
    text = markdown(HEADER, [line.cells() for line in lines])
    print(text)
    if not options.figures and not failed:
        on = "" if options.device == "cpu" else f" --device {options.device}"
        write_atomically(options.output, f"{HEAD.format(on=on)}\n{text}\n")
    return 0 if not failed and all(line.agrees for line in lines) else 1


def read_figures(file: Path) -> dict[str, Figure]:
    """Return the authors' figures by name, the mean of their seeds."""
    seeds: dict[str, list[np.ndarray]] = {}
    for entry in json.loads(file.read_text()):
        name = entry["method"].partition("_seed")[0]
        seeds.setdefault(name, []).append(np.array(entry["error"]))
    errors = {name: np.mean(found, axis=0) for name, found in seeds.items()}
    return {name: Figure(float(error.mean()), error) for name, error in errors.items()}


def run_all(cells: Sequence[Cell], workers: int) -> tuple[dict[str, Figure], int]:
    """Return figures by the name of the cell, and how many runs failed."""
    found, failed = {}, 0
    for outcome in tqdm(run_locally(cells, workers), total=len(cells)):
        if outcome.finished is None:
            failed += 1
            print(f"{outcome.cell.name}: {outcome.error}", file=sys.stderr)
        else:
            run = Path(outcome.cell.config.output, outcome.finished.path)
            errors = 100 * pd.read_csv(run / "domains.csv")["error"].to_numpy()
            found[outcome.cell.name] = Figure(errors.mean(), errors)
    return found, failed


@dataclass(frozen=True)
class Line:
    """One line of the table.

    Attributes:
        name: of the figure.
        ours: mean error of every seed, in percent.
        theirs: mean error.
        worst: greatest difference of a domain's error, ours being the mean over seeds.
    """

    name: str
    ours: list[float]
    theirs: float
    worst: float

    @property
    def difference(self) -> float:
        """Ours minus theirs, in points."""
        return mean(self.ours) - self.theirs

    @property
    def agrees(self) -> bool:
        """Whether the difference is within its bound."""
        return abs(self.difference) <= SUBJECTS[self.name].bound

    def cells(self) -> list[str]:
        """Return the line's cells."""
        spread = f" ± {stdev(self.ours):.2f}" if len(self.ours) > 1 else ""
        return [
            self.name,
            str(len(self.ours)),
            f"{mean(self.ours):.2f}{spread}",
            f"{self.theirs:.2f}",
            f"{self.difference:+.2f}",
            f"{SUBJECTS[self.name].bound:.1f}",
            "yes" if self.agrees else "**no**",
            f"{self.worst:.1f}",
        ]


def compare(name: str, errors: dict[tuple[str, int], Figure], theirs: Figure) -> Line:
    """Put our seeds beside their figure."""
    ours = [errors[name, seed] for seed in SUBJECTS[name].seeds if (name, seed) in errors]
    domains = np.mean([figure.domains for figure in ours], axis=0)
    worst = float(np.abs(domains - theirs.domains).max())
    return Line(name, [figure.mean for figure in ours], theirs.mean, worst)


def config(subject: Subject, seed: int, assets: str, device: str) -> RunConfig:
    """Return a run on the stream; their arrays are NHWC, and so were their activations."""
    return RunConfig(
        method=subject.method,
        seed=seed,
        set=subject.params,
        dataset=f"arrays:{assets}/reference/cifar10c-visible.npz",
        source=f"arrays:{assets}/data/cifar10/train4k.npz",
        scenario="recorded",
        backbone="cifar_resnet20",
        weights=f"{assets}/weights/resnet20-12fca82f.th",
        batch_size=200,
        memory_format="channels_last",
        device=device,
        resume=True,
    )


if __name__ == "__main__":
    raise SystemExit(main())
