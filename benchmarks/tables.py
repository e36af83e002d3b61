"""The tables of results/: methods by domains, on streams that every method shares.

    TTA_TEST_ASSETS=/path/to/data python benchmarks/tables.py [FILE ...]

writes results/FILE.md, or all of them. Runs are kept below results/runs, so an interrupted command
continues. Digits come with the package; tables of other data are left out, with a note, where
$TTA_TEST_ASSETS is not set.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tta.config import RunConfig
from tta.experiment import run
from tta.reporting.comparison import compare
from tta.reporting.formats import render_tables, tables
from tta.reporting.records import Run
from tta.reporting.run_directory import write_atomically

SEED_SYSTEMS = ("source", "bn", "bn_alpha", "bn_ema", "core", "lame", "tent", "rmt", "cema")
RESULTS = Path("results")
ASSETS = "$TTA_TEST_ASSETS"


@dataclass(frozen=True)
class Table:
    """One table: a title, its methods, and the options that their runs share.

    Attributes:
        title: heading.
        methods: a row each.
        options: of every run, by field of RunConfig; ``$TTA_TEST_ASSETS`` stands for its value.
        extra: further options of some methods.
        seeds: of every method.
    """

    title: str
    methods: tuple[str, ...]
    options: dict[str, Any]
    extra: dict[str, dict[str, Any]] = field(default_factory=dict)
    seeds: tuple[int, ...] = (1,)

    @property
    def needs_assets(self) -> bool:
        """Whether data from outside the package is read."""
        return any(ASSETS in str(value) for value in self.options.values())

    def configs(self, assets: str) -> list[RunConfig]:
        """Return the configuration of every run."""
        shared = {name: _resolved(value, assets) for name, value in self.options.items()}
        return [
            RunConfig(method=method, seed=seed, **{**shared, **self.extra.get(method, {})})
            for method in self.methods
            for seed in self.seeds
        ]

    def render(self, assets: str) -> str:
        """Run what has not been run, and return the section's text."""
        summaries = [run(config) for config in tqdm(self.configs(assets), desc=self.title)]
        (compared,) = compare([Run.load(Path(summary["path"])) for summary in summaries])
        shown = render_tables(tables(compared, ("errors", "tests"), "error"), "markdown")
        text = f"## {self.title}\n\n`{self.command()}`\n\n{shown}\n"
        return text.replace(assets, ASSETS) if assets else text

    def command(self) -> str:
        """Return the command that each row was made with, METHOD standing for its name."""
        flags = [f"--{name.replace('_', '-')} {value}" for name, value in self.options.items()]
        return " ".join(["python -m tta.run --method METHOD", *flags])


def _resolved(value: Any, assets: str) -> Any:
    return value.replace(ASSETS, assets) if isinstance(value, str) else value


RECORDED = {
    "dataset": f"arrays:{ASSETS}/reference/cifar10c-visible.npz",
    "source": f"arrays:{ASSETS}/data/cifar10/train4k.npz",
    "scenario": "recorded",
    "backbone": "cifar_resnet20",
    "weights": f"{ASSETS}/weights/resnet20-12fca82f.th",
    "cloud_backbone": "cifar_resnet56",
    "cloud_weights": f"{ASSETS}/weights/akamaster_resnet56_cifar10.safetensors",
    "preset": "cifar10-c",
    "batch_size": 200,
}
CIFAR100_GENERATED = {
    "dataset": "cifar100-c@gen",
    "data_dir": f"{ASSETS}/data",
    "scenario": "continual",
    "backbone": "cifar_resnet20_distiller",
    "weights": f"{ASSETS}/weights/distiller_resnet20_cifar100.safetensors",
    "num_samples": 1000,
}
TABLES = {
    "seed_systems": [
        Table("digits-c, continual", SEED_SYSTEMS, {"scenario": "continual"}),
        Table("digits-c, gradual", SEED_SYSTEMS, {"scenario": "gradual", "num_samples": 100}),
        Table("digits-c, correlated", SEED_SYSTEMS, {"scenario": "correlated", "dirichlet": 0.1}),
        Table(
            "CIFAR-10-C, recorded stream",
            SEED_SYSTEMS,
            RECORDED,
            {"rmt": {"set": {"warm_up_samples": 4000}}},  # one pass over the source images there
        ),
    ],
    "cifar100_generated": [
        Table(
            "CIFAR-100-C generated from clean images, continual",
            ("source", "bn", "bn_alpha", "tent", "rmt"),
            CIFAR100_GENERATED,
            {"rmt": {"set": {"warm_up_samples": 2000}}},  # likewise
        ),
    ],
}


def main() -> None:
    """Make the tables that are asked for and write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", metavar="FILE", help=f"of {', '.join(TABLES)}")
    names = parser.parse_args().files or list(TABLES)
    if unknown := set(names) - set(TABLES):
        parser.error(f"no table {', '.join(sorted(unknown))}; there are {', '.join(TABLES)}")
    assets = os.environ.get("TTA_TEST_ASSETS", "")
    for name in names:
        chosen = [table for table in TABLES[name] if assets or not table.needs_assets]
        if len(chosen) < len(TABLES[name]):
            print(f"{name}: TTA_TEST_ASSETS is not set, digits alone", file=sys.stderr)
        if chosen:
            head = (
                f"# {name.replace('_', ' ').capitalize()}\n\n`python benchmarks/tables.py {name}`"
            )
            sections = [table.render(assets) for table in chosen]
            write_atomically(RESULTS / f"{name}.md", "\n\n".join([head, *sections]))


if __name__ == "__main__":
    main()
