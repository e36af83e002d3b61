"""A view of another data set: some of its domains, some of their samples."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from tta.datasets.base import Dataset
from tta.datasets.benchmark import Benchmark
from tta.datasets.resizing import Resizing
from tta.foundation.geometry import Size


class Subset(Dataset):
    """Some domains of a data set, and where ``rows`` says so, some samples of each.

    Args:
        dataset: the whole.
        rows: by domain, in this order: indices of the samples to keep, or None for all.
    """

    def __init__(self, dataset: Dataset, rows: Mapping[str, np.ndarray | None]) -> None:
        self._whole = dataset
        self._rows = {
            domain: np.arange(len(dataset.labels(domain, dataset.default_severity)))
            if chosen is None
            else chosen
            for domain, chosen in rows.items()
        }
        self.name = dataset.name
        self.domains = tuple(rows)
        self.severities = dataset.severities
        self.default_severity = dataset.default_severity
        self.num_classes = dataset.num_classes
        self.task = dataset.task
        self.ignore_label = dataset.ignore_label
        self.palette = dataset.palette
        self.usual_size = dataset.usual_size
        # A part is another benchmark: what is published of the whole is not of it.
        self.benchmark = Benchmark(batch_size=dataset.benchmark.batch_size)
        self.costly = dataset.costly
        self.sizing = dataset.sizing
        self.square = dataset.square

    @property
    def whole(self) -> Dataset:
        """The data set that this is a part of."""
        return self._whole

    @property
    def image_size(self) -> Size | None:
        """Of the whole data set: setting it here sets it there."""
        return self._whole.image_size

    @image_size.setter
    def image_size(self, size: Size | None) -> None:
        self._whole.image_size = size

    @property
    def resizing(self) -> Resizing:
        """Of the whole data set, as ``image_size``."""
        return self._whole.resizing

    @resizing.setter
    def resizing(self, resizing: Resizing) -> None:
        self._whole.resizing = resizing

    def native_sizes(self, domain: str, severity: int) -> frozenset[Size]:
        return self._whole.native_sizes(domain, severity)

    def shown(self, domain: str, severity: int, indices: np.ndarray) -> Tensor:
        return self._whole.shown(domain, severity, self._rows[domain][indices])

    def labels(self, domain: str, severity: int) -> np.ndarray:
        return self._whole.labels(domain, severity)[self._rows[domain]]

    def images(self, domain: str, severity: int, indices: np.ndarray) -> Tensor:
        return self._whole.images(domain, severity, self._rows[domain][indices])

    def original(self, domain: str, severity: int, index: int) -> Tensor:
        return self._whole.original(domain, severity, self._rows[domain][index])

    def moved(self, domain: str, severity: int, indices: np.ndarray, shift: np.ndarray) -> Tensor:
        return self._whole.moved(domain, severity, self._rows[domain][indices], shift)

    def label_maps(self, domain: str, severity: int, indices: np.ndarray) -> Tensor:
        return self._whole.label_maps(domain, severity, self._rows[domain][indices])

    def shown_maps(self, domain: str, severity: int, indices: np.ndarray) -> Tensor:
        return self._whole.shown_maps(domain, severity, self._rows[domain][indices])

    def check(self, domains: tuple[str, ...], severities: tuple[int, ...]) -> None:
        self._whole.check(domains, severities)

    def understood(self) -> dict[str, str]:
        return self._whole.understood()

    def digest(self) -> str:
        return self._digest(self._whole.digest())

    def portable_digest(self) -> str:
        return self._digest(self._whole.portable_digest())

    def _digest(self, whole: str) -> str:
        sha = hashlib.sha256(whole.encode())
        for domain, rows in self._rows.items():
            sha.update(f"{domain}:".encode() + np.ascontiguousarray(rows, "<i8").tobytes())
        return sha.hexdigest()


class KeptClasses(Subset):
    """The images of some classes of a data set, whose labels get other numbers.

    Args:
        dataset: the whole; its images at the first severity are what is kept.
        numbers: the new label of every label ``[C]``; -1 leaves the images of a class out, and of
            label maps its pixels.
        num_classes: how many classes the new labels count.
    """

    def __init__(self, dataset: Dataset, numbers: np.ndarray, num_classes: int) -> None:
        self._of_pixels = dataset.dense  # of which every image has several
        super().__init__(
            dataset,
            {
                domain: None
                if self._of_pixels
                else np.flatnonzero(numbers[dataset.labels(domain, dataset.severities[0])] >= 0)
                for domain in dataset.domains
            },
        )
        self._numbers = numbers
        self.num_classes = num_classes
        self.ignore_label = Dataset.ignore_label  # the other one may be a class by now

    def labels(self, domain: str, severity: int) -> np.ndarray:
        labels = super().labels(domain, severity)
        return labels if self._of_pixels else self._numbers[labels]

    def label_maps(self, domain: str, severity: int, indices: np.ndarray) -> Tensor:
        return self._renumbered(super().label_maps(domain, severity, indices))

    def shown_maps(self, domain: str, severity: int, indices: np.ndarray) -> Tensor:
        return self._renumbered(super().shown_maps(domain, severity, indices))

    def _renumbered(self, maps: Tensor) -> Tensor:
        table = torch.full((256,), self.ignore_label, dtype=torch.uint8)
        kept = np.flatnonzero(self._numbers >= 0)
        table[kept] = torch.from_numpy(self._numbers[kept]).to(torch.uint8)
        table[self._whole.ignore_label] = self.ignore_label
        return table[maps.long()]

    def _digest(self, whole: str) -> str:
        numbers = np.ascontiguousarray(self._numbers, "<i8").tobytes()
        return hashlib.sha256(super()._digest(whole).encode() + numbers).hexdigest()


def split_validation(dataset: Dataset, fraction: float, seed: int = 0) -> tuple[Subset, Subset]:
    """Split every domain at random into a training and a validation part.

    Domains of equal size are split alike: where they show the same scenes, as rotated digits
    do, no scene is in both parts.

    Args:
        dataset: what to split.
        fraction: of each domain that goes into the validation part, at least 0 and below 1.
        seed: of the split.
    """
    training, validation = {}, {}
    for domain in dataset.domains:
        size = len(dataset.labels(domain, dataset.default_severity))
        order = np.random.default_rng([seed, size]).permutation(size)
        cut = round(fraction * size)
        validation[domain], training[domain] = np.sort(order[:cut]), np.sort(order[cut:])
    return Subset(dataset, training), Subset(dataset, validation)
