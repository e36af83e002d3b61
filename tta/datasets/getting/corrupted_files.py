"""Corrupted images in the layout in which their authors publish them, from the clean images."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from tta.corruptions import CORRUPTIONS
from tta.datasets import Dataset, open_dataset
from tta.datasets.cifar import IMAGES, Cifar10C, Cifar100C
from tta.datasets.generated import MARKER
from tta.datasets.loading import load_ahead
from tta.foundation.errors import UserError, did_you_mean
from tta.foundation.files import write_atomically, written_aside
from tta.foundation.version import __version__

CIFAR = {"cifar10-c": Cifar10C.folder, "cifar100-c": Cifar100C.folder}
IMAGENET = {"imagenet-c": "ImageNet-C", "imagenet-c-full": "ImageNet-C"}
SEVERITIES = (1, 2, 3, 4, 5)
QUALITY = 85
"""Of the JPEG files of ImageNet-C."""


def write_corrupted(
    name: str, data_dir: str | None, output: Path, corruptions: Sequence[str], workers: int
) -> str:
    """Write what is not there yet, and return in words what is there now.

    Args:
        name: one of :data:`CIFAR` or :data:`IMAGENET`.
        data_dir: where the clean images are, as for data sets.
        output: the folder to which the data set's own is written.
        corruptions: their names; none for all.
        workers: processes that corrupt images.

    Raises:
        UserError: there is no such corruption, clean images are missing, or the folder holds
            other files or cannot be written to.
    """
    chosen = tuple(corruptions) or CORRUPTIONS
    for corruption in chosen:
        if corruption not in CORRUPTIONS:
            hint = did_you_mean(corruption, CORRUPTIONS)
            raise UserError(f"unknown corruption {corruption!r}; {hint}")
    data = open_dataset(f"{name}@gen", data_dir)
    folder = output / {**CIFAR, **IMAGENET}[name]
    try:
        _mark(folder, data)
        (_write_arrays if name in CIFAR else _write_files)(data, folder, chosen, workers)
    except OSError as error:
        raise UserError(
            f"cannot write to {str(folder)!r} ({error.strerror}); choose another --output or make "
            "room"
        ) from error
    return f"{folder}: complete for {', '.join(chosen)}"


def _mark(folder: Path, data: Dataset) -> None:
    """Say in the folder what its files are made with.

    Raises:
        UserError: it holds published files, or files made with other things.
    """
    facts = {"tta": __version__, "data": data.name, **data.provenance}
    file = folder / MARKER
    if file.exists():
        if _marked(file) != facts:
            raise UserError(
                f"{str(folder)!r} holds images that were generated in another way, or its "
                f"{MARKER} is damaged; choose another --output, or remove the folder"
            )
        return
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{str(folder)!r} holds other files; choose another --output")
    write_atomically(file, json.dumps(facts, indent=2) + "\n")


def _marked(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def _parts(size: int, length: int) -> list[np.ndarray]:
    return [np.arange(start, min(start + length, size)) for start in range(0, size, length)]


def _write_arrays(data: Dataset, folder: Path, chosen: Sequence[str], workers: int) -> None:
    labels = data.labels(chosen[0], SEVERITIES[0])
    if len(labels) != IMAGES:
        raise UserError(
            f"the official layout has {IMAGES} images, but only {len(labels)} are below the data "
            f"folder; {data.cure}"
        )
    np.save(folder / "labels.npy", np.tile(labels, len(SEVERITIES)).astype(np.uint8))
    parts = list(itertools.product(SEVERITIES, _parts(IMAGES, 500)))
    for name in chosen:
        file = folder / f"{name}.npy"
        if file.exists():
            continue
        shape = (len(SEVERITIES) * IMAGES, 32, 32, 3)
        loaded = load_ahead(partial(_load, data, name), parts, workers, pin=False)
        with written_aside(file) as aside:
            array = np.lib.format.open_memmap(aside, "w+", np.uint8, shape)
            for (severity, rows), images in zip(parts, tqdm(loaded, name, len(parts)), strict=True):
                array[IMAGES * (severity - 1) + rows] = images.permute(0, 2, 3, 1).numpy()
            array.flush()


def _load(data: Dataset, name: str, part: tuple[int, np.ndarray]) -> Tensor:
    severity, rows = part
    return data.images(name, severity, rows)


def _write_files(data: Dataset, folder: Path, chosen: Sequence[str], workers: int) -> None:
    data.check(chosen, SEVERITIES)
    size = len(data.labels(chosen[0], SEVERITIES[0]))
    for name in chosen:
        files = {
            (severity, row): folder / name / str(severity) / source.parent.name / source.name
            for row in range(size)
            for source in [data.file(name, SEVERITIES[0], row)]
            for severity in SEVERITIES
        }
        missing = [
            (severity, np.array(part))
            for severity in SEVERITIES
            for rows in _parts(size, 16)
            for part in [[row for row in rows.tolist() if not files[severity, row].exists()]]
            if part
        ]
        loaded = load_ahead(partial(_load, data, name), missing, workers, pin=False)
        for (severity, rows), images in zip(missing, tqdm(loaded, name, len(missing)), strict=True):
            _save(images, [files[severity, row] for row in rows.tolist()])


def _save(images: Tensor, files: list[Path]) -> None:
    for image, file in zip(images.permute(0, 2, 3, 1).contiguous(), files, strict=True):
        file.parent.mkdir(parents=True, exist_ok=True)
        with written_aside(file, shared=True) as aside:
            Image.fromarray(image.numpy()).save(aside, "JPEG", quality=QUALITY, optimize=True)
