"""How close the corruptions are to the official generator's, on a recorded CIFAR-10-C stream.

    python benchmarks/corruption_fidelity.py

reads 1,000 images per corruption at severity 5, made by the official script, and their clean
originals from $TTA_TEST_ASSETS, corrupts the originals again, and writes
results/corruption_fidelity.md: pixels, residuals, and the error of a source model on both, and on
cifar10-c@gen as it is run from all clean images there.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from tta.backbones import create_backbone
from tta.backbones.backbone import Backbone
from tta.config import RunConfig
from tta.corruptions import corrupt
from tta.experiment import run
from tta.foundation.files import write_atomically
from tta.reporting.tables import markdown

DETERMINISTIC = (
    "defocus_blur",
    "zoom_blur",
    "brightness",
    "contrast",
    "pixelate",
    "jpeg_compression",
)
WEIGHTS = Path("weights", "resnet20-12fca82f.th")
SEVERITY = 5
SEEDS = 10
OUTPUT = Path("results/corruption_fidelity.md")


@dataclass(frozen=True)
class Recorded:
    """The official images of one corruption beside their originals.

    Attributes:
        name: of the corruption.
        clean: uint8 ``[N, 3, 32, 32]``.
        official: uint8 ``[N, 3, 32, 32]``.
        labels: ``[N]``.
        ids: index of each image in the official test set.
    """

    name: str
    clean: Tensor
    official: Tensor
    labels: Tensor
    ids: np.ndarray


def read_recorded(assets: Path) -> list[Recorded]:
    """Return the recorded images by corruption."""
    with np.load(assets / "reference" / "cifar10c-visible.npz") as stream:
        parts = {key: stream[key] for key in stream.files}
    with np.load(assets / "data" / "cifar10" / "test5k.npz") as originals:
        row = {int(index): number for number, index in enumerate(originals["index"])}
        clean = originals["images"]
    made = []
    for number, name in enumerate(parts["names"]):
        rows = np.flatnonzero(parts["domains"] == number)
        ids = parts["index"][rows]
        chosen = clean[[row[int(index)] for index in ids]]
        labels = torch.from_numpy(parts["labels"][rows].astype(np.int64))
        made.append(Recorded(str(name), _nchw(chosen), _nchw(parts["images"][rows]), labels, ids))
    return made


def _nchw(images: np.ndarray) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


@torch.no_grad()
def error(backbone: Backbone, images: Tensor, labels: Tensor) -> float:
    """Return the model's error on uint8 images, in %."""
    correct = sum(
        int((backbone(part.float() / 255).argmax(1) == truth).sum())
        for part, truth in zip(images.split(200), labels.split(200), strict=True)
    )
    return 100 * (1 - correct / len(labels))


def generated_errors(assets: Path) -> dict[str, float]:
    """Return the source error on ``cifar10-c@gen`` by corruption, in %."""
    summary = run(
        RunConfig(
            method="source",
            dataset="cifar10-c@gen",
            data_dir=str(assets / "data"),
            backbone="cifar_resnet20",
            weights=str(assets / WEIGHTS),
        ),
        progress=True,
    )
    return {domain["domain"]: 100 * domain["error"] for domain in summary["domains"]}


def row(recorded: Recorded, backbone: Backbone, frost: Path) -> tuple[list[str], float, float]:
    """Return a line of the table, and the errors on official and on our images, in %."""
    seeds = 1 if recorded.name in DETERMINISTIC else SEEDS
    made = [
        corrupt(recorded.clean, recorded.name, SEVERITY, recorded.ids, seed, frost_textures=frost)
        for seed in range(seeds)
    ]
    ours = [error(backbone, images, recorded.labels) for images in made]
    official = error(backbone, recorded.official, recorded.labels)
    difference = (made[0].int() - recorded.official.int()).abs().float().mean()
    there, here = (_residual(images, recorded.clean) for images in (recorded.official, made[0]))
    spread = f" ± {np.std(ours, ddof=1):.2f}" if seeds > 1 else ""
    line = [
        recorded.name,
        f"{difference:.3f}" if seeds == 1 else "",
        f"{there.mean():.2f}",
        f"{here.mean():.2f}",
        f"{100 * (here.std() / there.std() - 1):.2f}",
        f"{official:.1f}",
        f"{np.mean(ours):.2f}{spread}",
    ]
    return line, official, float(np.mean(ours))


def _residual(images: Tensor, clean: Tensor) -> Tensor:
    return images.float() - clean.float()


def main() -> None:
    """Make the table and write it."""
    assets = Path(os.environ["TTA_TEST_ASSETS"])
    backbone = create_backbone("cifar_resnet20", weights=assets / WEIGHTS)
    frost = assets / "data" / "frost"
    rows = [row(part, backbone, frost) for part in tqdm(read_recorded(assets))]
    generated = generated_errors(assets)
    lines = [[*line, f"{generated[line[0]]:.2f}"] for line, _, _ in rows]
    means = [np.mean([item[column] for item in rows]) for column in (1, 2)]
    means.append(np.mean(list(generated.values())))
    lines.append(["**mean**", "", "", "", "", *(f"{mean:.2f}" for mean in means)])
    header = [
        "corruption",
        "mean abs. difference",
        "residual mean, official",
        "ours",
        "spread, difference in %",
        "source error %, official",
        "ours",
        "cifar10-c@gen, continual",
    ]
    text = (
        "# Fidelity of the corruptions\n\n`python benchmarks/corruption_fidelity.py`\n\n"
        f"CIFAR table, severity {SEVERITY}, 1,000 images, cifar_resnet20; grey levels of 255; "
        f"random corruptions: {SEEDS} seeds, mean ± standard deviation of the error; "
        "cifar10-c@gen: the 5,000 clean images at hand, one seed.\n\n"
        f"{markdown(header, lines)}\n"
    )
    write_atomically(OUTPUT, text)
    print(text)


if __name__ == "__main__":
    main()
