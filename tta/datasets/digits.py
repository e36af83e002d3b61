"""Handwritten digits that scikit-learn carries: a benchmark with nothing to download.

1,797 scans of 8x8 pixels (UCI Optical Recognition of Handwritten Digits), enlarged to 32x32.
Every second block of ten scans is source data, the others are the test images.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tta.corruptions import CORRUPTIONS, frost_source
from tta.datasets.base import NATURAL, Dataset, name_digest
from tta.datasets.benchmark import Benchmark, shipped
from tta.datasets.generated import CorruptedOnTheFly

SIZE = 32
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TEMPLATE = "a scan of the digit {}"
"""For models that read text."""
WEIGHTS = shipped("digits_test_resnet.safetensors")
VIT_WEIGHTS = shipped("digits_vit.safetensors")
CLOUD_WEIGHTS = shipped("digits_cifar_resnet32.safetensors")


@lru_cache(maxsize=1)
def load_digits_rgb() -> tuple[Tensor, np.ndarray]:
    """Return all scans as uint8 ``[1797, 3, 32, 32]`` (bicubic) and their labels."""
    scans, labels = _scans()
    return enlarged(scans.reshape(-1, 8, 8)), labels.astype(np.int64)


def enlarged(levels: np.ndarray) -> Tensor:
    """Return grey levels ``[N, 8, 8]``, 0 to 16, as uint8 images ``[N, 3, 32, 32]`` (bicubic)."""
    grey = np.round(levels * (255 / 16)).astype(np.uint8)
    large = [
        np.asarray(Image.fromarray(scan).resize((SIZE, SIZE), Image.Resampling.BICUBIC))
        for scan in grey
    ]
    return torch.from_numpy(np.stack(large))[:, None].expand(-1, 3, -1, -1).contiguous()


def digit_scans() -> tuple[np.ndarray, np.ndarray]:
    """Return grey levels ``[1797, 8, 8]``, 0 to 16, of all scans and their labels (uint8)."""
    scans, labels = _scans()
    return scans.reshape(-1, 8, 8), labels.astype(np.uint8)


def _scans() -> tuple[np.ndarray, np.ndarray]:
    """Return scikit-learn's scans ``[1797, 64]``, 0 to 16, and their labels.

    Its file is read where it lies: to import what reads it takes as long as a short run.
    """
    package = find_spec("sklearn")
    for folder in (package.submodule_search_locations or ()) if package else ():
        file = Path(folder, "datasets", "data", "digits.csv.gz")
        if file.is_file():
            table = np.loadtxt(file, delimiter=",")
            return table[:, :-1], table[:, -1]
    from sklearn.datasets import load_digits  # a release that keeps it elsewhere

    return load_digits(return_X_y=True)


def split_rows(source: bool) -> np.ndarray:
    """Return which scans belong to the source split, or to the test split."""
    scan = np.arange(1797)
    return scan[(scan // 10 % 2 == 0) == source]


class _Digits(Dataset):
    """One split of the scans."""

    num_classes = 10
    prompt_names = NAMES
    benchmark = Benchmark(
        backbone="test_resnet.r160_in1k",
        weights=str(WEIGHTS),
        other_weights={"digits_vit": str(VIT_WEIGHTS)},
        cloud_backbone="cifar_resnet32",
        cloud_weights=str(CLOUD_WEIGHTS),
        source="digits",
        templates=(TEMPLATE,),
        preset="digits-c",
    )

    def __init__(self, *, source_split: bool) -> None:
        images, labels = load_digits_rgb()
        self.rows = split_rows(source_split)
        self._images = images[torch.from_numpy(self.rows)]
        self._labels = labels[self.rows]

    def labels(self, domain: str, severity: int) -> np.ndarray:
        return self._labels

    def images(self, domain: str, severity: int, indices: np.ndarray) -> Tensor:
        return self._images[torch.from_numpy(indices)]

    def digest(self) -> str:
        return name_digest(self)


class SourceDigits(_Digits):
    """``digits``: the clean source split (900 scans)."""

    name = "digits"
    domains = ("clean",)

    def __init__(self) -> None:
        super().__init__(source_split=True)


class CorruptedDigits(CorruptedOnTheFly, _Digits):
    """``digits-c``: the test split (897 scans) under the common corruptions, made on the fly."""

    name = "digits-c"
    domains = CORRUPTIONS
    severities = (1, 2, 3, 4, 5)
    default_severity = 5
    provenance = {"frost": frost_source(None)}

    def __init__(self) -> None:
        super().__init__(source_split=False)

    def images(self, domain: str, severity: int, indices: np.ndarray) -> Tensor:
        clean = super().images(domain, NATURAL, indices)
        return self.corrupted(clean, domain, severity, self.rows[indices])
