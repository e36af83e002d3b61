"""Tables of the seed systems on digits-c and on a recorded CIFAR-10-C stream.

    python benchmarks/seed_systems.py

runs every method with its preset and writes results/seed_systems.md. The recorded stream is read
from $TTA_TEST_ASSETS (see README); without it, only digits-c is run.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tta.config import RunConfig
from tta.experiment import run
from tta.reporting.comparison import comparison

METHODS = ("source", "bn", "bn_alpha", "bn_ema", "core", "lame", "tent", "rmt", "cema")
OUTPUT = Path("results/seed_systems.md")


@dataclass(frozen=True)
class Table:
    """One table: a title and the options that its runs share.

    Attributes:
        title: heading.
        options: of every run, by field of RunConfig.
    """

    title: str
    options: dict[str, Any]

    def command(self) -> str:
        """Return the command that each row was made with, METHOD standing for its name."""
        flags = [f"--{name.replace('_', '-')} {value}" for name, value in self.options.items()]
        return " ".join(["python -m tta.run --method METHOD", *flags])

    def render(self) -> str:
        """Run every method and return the section's text."""
        runs = [
            run(RunConfig(method=method, **self.options))
            for method in tqdm(METHODS, desc=self.title)
        ]
        return f"## {self.title}\n\n`{self.command()}`\n\n{comparison(runs, 'error')}\n"


def tables() -> list[Table]:
    """Return the tables that can be made with the data at hand."""
    made = [
        Table("digits-c, continual", {"scenario": "continual"}),
        Table("digits-c, gradual", {"scenario": "gradual", "num_samples": 200}),
        Table("digits-c, correlated", {"scenario": "correlated", "dirichlet": 0.1}),
    ]
    assets = os.environ.get("TTA_TEST_ASSETS")
    if assets:
        made.append(Table("CIFAR-10-C, recorded stream", recorded_options(Path(assets))))
    return made


def recorded_options(assets: Path) -> dict[str, Any]:
    """Return the options of the recorded stream of 1,000 images per corruption."""
    return {
        "dataset": f"arrays:{assets}/reference/cifar10c-visible.npz",
        "source": f"arrays:{assets}/data/cifar10/train4k.npz",
        "scenario": "recorded",
        "backbone": "cifar_resnet20",
        "weights": f"{assets}/weights/resnet20-12fca82f.th",
        "cloud_backbone": "cifar_resnet56",
        "cloud_weights": f"{assets}/weights/akamaster_resnet56_cifar10.safetensors",
        "preset": "cifar10-c",
        "batch_size": 200,
    }


def main() -> None:
    """Make every table and write them."""
    assets = os.environ.get("TTA_TEST_ASSETS", "")
    text = "\n".join(["# Seed systems", "", "`python benchmarks/seed_systems.py`", ""])
    text += "\n".join(table.render() for table in tables())
    OUTPUT.write_text(text.replace(assets, "$TTA_TEST_ASSETS") if assets else text)
    print(f"wrote {OUTPUT}")


if __name__ == "__main__":
    main()
