"""Tiny data sets in the official layouts."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tta.datasets.coop_sets import COOP_SETS
from tta.datasets.imagenet import imagenet_classes


def jpeg(shade: int = 128, size: tuple[int, int] = (40, 32)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (shade, 0, 0)).save(file, "JPEG")
    return file.getvalue()


def write_images(folder: Path, names: list[str], size: tuple[int, int] = (40, 32)) -> None:
    """Write an image for every name, each with a shade of its own."""
    for number, name in enumerate(names):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(jpeg(number * 10 % 256, size))


def resize_facts(monkeypatch, dataset: type, images: int | dict[str, int]) -> None:
    """Let the data set be as small as a fixture."""
    monkeypatch.setattr(dataset, "facts", dataclasses.replace(dataset.facts, images=images))


def cifar_c(folder: Path, corruptions: tuple[str, ...]) -> None:
    """Write sparse files: row 10000 (s - 1) + i of corruption c holds (c, s, i) in its corner."""
    folder.mkdir()
    np.save(folder / "labels.npy", np.tile(np.arange(10_000) % 7, 5).astype(np.uint8))
    for number, corruption in enumerate(corruptions):
        array = np.lib.format.open_memmap(
            folder / f"{corruption}.npy", "w+", np.uint8, (50_000, 32, 32, 3)
        )
        for severity in range(1, 6):
            for row in range(3):
                array[10_000 * (severity - 1) + row, 0, 0] = (number, severity, row)
        array.flush()


def cifar_binary(folder: Path, files: dict[str, int], label_bytes: int) -> None:
    """Write batches whose record i has label i % 10 and value i % 256 in its first pixel."""
    folder.mkdir()
    for name, rows in files.items():
        records = np.zeros((rows, label_bytes + 3072), np.uint8)
        records[:, 0] = 5 % label_bytes  # the coarse label of CIFAR-100, which nobody reads
        records[:, label_bytes - 1] = np.arange(rows) % 10
        records[:, label_bytes] = np.arange(rows) % 256
        (folder / name).write_bytes(records.tobytes())


def validation_names(count: int) -> list[str]:
    """Return names as in RobustBench's list, out of order."""
    classes = imagenet_classes()
    return [
        f"{classes[(7 * k) % 1000]}/ILSVRC2012_val_{50_000 - 3 * k:08d}.JPEG" for k in range(count)
    ]


def order_digest(data, root: Path) -> str:
    """Return twelve digits of a SHA-256 of domains, labels and files in order."""
    sha = hashlib.sha256()
    for domain in data.domains:
        for index, label in enumerate(data.labels(domain, data.default_severity)):
            file = data.file(domain, data.default_severity, index).relative_to(root).as_posix()
            sha.update(f"{domain} {label} {file}\n".encode())
    return sha.hexdigest()[:12]


def fine_grained(root: Path, name: str, images: int, classes: Sequence[str] | None = None) -> Path:
    """Write test images test_0.jpg, ... of the last classes, and their list; return the list."""
    row = COOP_SETS[name]
    classes = classes or [f"kind_{label}" for label in range(row.facts.classes)]
    labels = [len(classes) - 1 - number for number in range(images)]
    write_images(root / row.folder / row.images, [f"test_{k}.jpg" for k in range(images)])
    split = root / row.folder / row.split
    if split.suffix == ".txt":
        split.with_name("variants.txt").write_text("\n".join(classes))
        lines = [f"test_{number} {classes[label]}" for number, label in enumerate(labels)]
        split.write_text("\n".join(lines))
        return split
    train = [[f"train_{label}.jpg", label, one] for label, one in enumerate(classes)]
    test = [[f"test_{number}.jpg", label, classes[label]] for number, label in enumerate(labels)]
    split.write_text(json.dumps({"train": train, "val": [], "test": test}))
    return split
