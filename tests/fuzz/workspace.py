"""What the fuzzer starts from: one good file of every kind that a user hands over."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tta.backbones import create_backbone
from tta.commands import run
from tta.datasets.digits import CorruptedDigits
from tta.methods.tent import Tent

EATA = (
    *("--method", "eata", "--set", "fisher_samples=16", "--domains", "fog", "--num-samples", "8"),
    *("--batch-size", "4"),
)
OWN = ("--backbone", "test_resnet", "--num-classes", "10", "--workers", "0")
SMALL = ("--domains", "pixelate,fog", "--num-samples", "8", "--batch-size", "4")
PICTURE = bytes(range(200)) * 2
CARD = """{
  "architecture": "test_resnet",
  "pretrained_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "input_size": [3, 32, 32]}
}
"""
METHOD = """
from tta.methods import Method


class Mine(Method):
    name = "mine"

    def step(self, images):
        return self.backbone(images)
"""


def make(root: Path) -> Path:
    """Make the files below ``root`` and return it; ``outside`` is what nothing may touch."""
    dataset = CorruptedDigits()
    rows = np.arange(20)
    images = dataset.images("pixelate", 5, rows).permute(0, 2, 3, 1).numpy()
    labels = dataset.labels("pixelate", 5)[rows]
    np.savez(root / "scans.npz", images=images, labels=labels, domains=rows % 2)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        folder = root / "folder" / f"domain{number % 2}" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number}.png")
    network = create_backbone(
        dataset.benchmark.backbone, weights=dataset.benchmark.weights, num_classes=10
    ).model
    save_file(network.state_dict(), root / "weights.safetensors")
    torch.save({"state_dict": network.state_dict()}, root / "weights.pth")
    (root / "method.py").write_text(METHOD)
    (root / "config.yaml").write_text(
        "method: tent\nset: {lr: 0.001}\ndomains: [pixelate, fog]\nnum_samples: 8\nbatch_size: 4\n"
    )
    (root / "grid.yaml").write_text(
        "num_samples: 8\ndomains: [fog]\ngrid:\n  method: [source, tent]\n  seed: [1, 2]\n"
    )
    (root / "card.json").write_text(CARD)
    (root / "classes.txt").write_text("".join(f"{number}\n" for number in range(10)))
    _archives(root)
    (root / "outside").mkdir()
    (root / "outside" / "secret").write_text("nothing may touch this")
    _runs(root)
    _caches(root)
    return root


def _archives(root: Path) -> None:
    names = ("a/1.png", "a/2.png", "b/3.png")
    for name, mode in (("archive.tar.gz", "w:gz"), ("archive.tar", "w")):
        with tarfile.open(root / name, mode) as tar:
            for inner in names:
                member = tarfile.TarInfo(inner)
                member.size = len(PICTURE)
                tar.addfile(member, io.BytesIO(PICTURE))
    with zipfile.ZipFile(root / "archive.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, PICTURE)


def _runs(root: Path) -> None:
    for method in ("source", "bn", "tent"):
        output = root / ("whole" if method == "tent" else "runs")
        assert run.main(["--method", method, *SMALL, "--output", str(output)]) == 0
    steps = []

    def step(self: Tent, images: torch.Tensor) -> torch.Tensor:
        steps.append(len(images))
        if len(steps) == 3:
            raise KeyboardInterrupt
        return whole(self, images)

    whole = Tent.step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tent, "step", step)
        options = ["--checkpoint-every", "1", "--output", str(root / "interrupted")]
        assert run.main(["--method", "tent", *SMALL, *options]) == 130


def _caches(root: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TTA_CACHE_DIR", str(root / "cache"))
        options = [*EATA, "--output", str(root / "eata")]
        assert run.main(options) == 0
    own = [*OWN, "--weights", str(root / "weights.safetensors"), "--output"]
    assert run.main(["--dataset", f"arrays:{root / 'scans.npz'}", *own, str(root / "arrays")]) == 0
    own += [str(root / "own"), "--decoded-cache", str(root / "decoded")]
    assert run.main(["--dataset", f"folder:{root / 'folder'}", *own]) == 0


def figures(root: Path) -> list[tuple]:
    """Return the figures of every run below a folder, by method."""
    found = []
    for file in root.rglob("summary.json"):
        summary = json.loads(file.read_text())
        rows = [(row["domain"], row["samples"], row["error"]) for row in summary["domains"]]
        found.append((summary["method"], summary["mean_nll"], rows))
    return sorted(found)


def snapshot(root: Path) -> dict[str, str]:
    """Return what is below a folder: digests of files, targets of links."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found
