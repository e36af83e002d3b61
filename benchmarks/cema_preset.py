"""Which replay and learning rate CEMA takes on a continual stream of CIFAR-10, without test labels.

    TTA_TEST_ASSETS=/path/to/data python benchmarks/cema_preset.py

corrupts training images with the four corruptions that CIFAR-10-C keeps for validation, streams
them in batches of 64, and writes results/cema_preset.md. The preset cifar10-c takes the best row.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from tta.config import RunConfig
from tta.corruptions import EXTRA_CORRUPTIONS, corrupt
from tta.experiment import run
from tta.foundation.files import write_atomically
from tta.reporting.tables import markdown, percent

SEVERITY = 5
IMAGES = 1000
RULES = {
    "statistics": "batch",
    "low_margin": 0.02,
    "threshold_coefficient": 0.6,
    "warm_up_samples": 640,
    "redundancy_margin": 0.4,
}
GRID = {"history_size": (10_000, 256, 0), "edge_lr": (2.5e-3, 1e-3)}
OUTPUT = Path("results/cema_preset.md")


def validation_stream(train: Path, file: Path) -> None:
    """Write ``IMAGES`` training images per extra corruption, other ones for each."""
    with np.load(train) as arrays:
        images, labels = arrays["images"], arrays["labels"]
    order = np.random.default_rng(0).permutation(len(images))
    made, rows = [], []
    for number, name in enumerate(EXTRA_CORRUPTIONS):
        chosen = order[IMAGES * number : IMAGES * (number + 1)]
        clean = torch.from_numpy(images[chosen]).permute(0, 3, 1, 2).contiguous()
        made.append(corrupt(clean, name, SEVERITY, ids=chosen).permute(0, 2, 3, 1).numpy())
        rows.append(chosen)
    np.savez(
        file,
        images=np.concatenate(made),
        labels=labels[np.concatenate(rows)],
        domains=np.repeat(np.arange(len(made)), IMAGES),
        names=np.array(EXTRA_CORRUPTIONS),
    )


def main() -> None:
    """Run the grid and write the table."""
    assets = Path(os.environ["TTA_TEST_ASSETS"])
    with tempfile.TemporaryDirectory() as folder:
        stream = Path(folder, "validation.npz")
        validation_stream(assets / "data" / "cifar10" / "train4k.npz", stream)
        shared = {
            "dataset": f"arrays:{stream}",
            "scenario": "continual",
            "backbone": "cifar_resnet20",
            "weights": str(assets / "weights" / "resnet20-12fca82f.th"),
            "cloud_backbone": "cifar_resnet56",
            "cloud_weights": str(assets / "weights" / "akamaster_resnet56_cifar10.safetensors"),
            "preset": "defaults",
            "batch_size": 64,
            "contiguous_batches": True,
        }
        rows = [_row("bn", run(RunConfig(method="bn", **shared)))]
        for values in tqdm(list(itertools.product(*GRID.values()))):
            changed = dict(zip(GRID, values, strict=True))
            config = RunConfig(method="cema", **shared, set={**RULES, **changed})
            rows.append(_row(", ".join(f"{k}={v}" for k, v in changed.items()), run(config)))
    header = ["hyper-parameters", *EXTRA_CORRUPTIONS, "mean error %", "upload %"]
    write_atomically(OUTPUT, _report(markdown(header, rows)))


def _row(name: str, summary: dict[str, Any]) -> list[str]:
    errors = [percent(domain["error"]) for domain in summary["domains"]]
    return [
        name,
        *errors,
        percent(summary["mean_error"]),
        percent(summary.get("upload_fraction", 0.0)),
    ]


def _report(table: str) -> str:
    return (
        "# The CIFAR-10 preset of CEMA\n\n`python benchmarks/cema_preset.py`\n\n"
        f"{IMAGES} training images per corruption, severity {SEVERITY}, continual, batch 64; edge "
        "cifar_resnet20, cloud cifar_resnet56. No test image and no test label is used. All rows "
        f"with {', '.join(f'{name} {value}' for name, value in RULES.items())}.\n\n{table}\n"
    )


if __name__ == "__main__":
    main()
