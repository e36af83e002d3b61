"""CIFAR-10-C and CIFAR-100-C (Hendrycks and Dietterich, ICLR 2019), and what they are made of.

The published files are

    CIFAR-10-C/<corruption>.npy   uint8 [50000, 32, 32, 3], severity s in rows 10000 (s - 1) ..
    CIFAR-10-C/labels.npy         [50000]
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from torch import Tensor

from tta.corruptions import CORRUPTIONS
from tta.datasets.arrays import array_digest
from tta.datasets.base import NATURAL
from tta.datasets.benchmark import Benchmark
from tta.datasets.cifar_batches import CIFAR10, CIFAR100, Edition, read_split
from tta.datasets.cifar_names import CIFAR10_NAMES, CIFAR100_NAMES
from tta.datasets.facts import DatasetFacts
from tta.datasets.generated import GeneratedDataset, name_of, read_marker
from tta.datasets.images import take_rows
from tta.datasets.stored import StoredDataset
from tta.foundation.errors import UserError

IMAGES = 10_000
"""Per corruption and severity."""
SHAPE = (5 * IMAGES, 32, 32, 3)
_AT_ONCE = 500  # images that are read at once for the digest
ON_CIFAR10 = Benchmark("wrn28_10", source="cifar10", preset="cifar10-c", batch_size=200)
ON_CIFAR100 = Benchmark("resnext29_4x32d", source="cifar100", preset="cifar100-c", batch_size=200)


class _CifarC(StoredDataset):
    """What the published and the generated data sets share."""

    domains = CORRUPTIONS
    severities = (1, 2, 3, 4, 5)
    default_severity = 5


class PublishedCifarC(_CifarC):
    """The files that the authors publish, mapped into memory.

    Attributes:
        folder: of the files, below the data folder.
    """

    folder: str

    def __init__(self, argument: str, data_dir: Path) -> None:
        super().__init__(argument, data_dir)
        self._arrays: dict[str, np.ndarray] = {}
        self.provenance = read_marker(data_dir / self.folder)
        self.name = name_of(type(self).name, self.provenance)

    def labels(self, domain: str, severity: int) -> np.ndarray:
        return self._labels[_rows(severity)]

    def images(self, domain: str, severity: int, indices: np.ndarray) -> Tensor:
        return take_rows(self._array(domain)[_rows(severity)], indices)

    def faults(
        self, domains: tuple[str, ...], severities: tuple[int, ...], probes: int | None = None
    ) -> Iterator[UserError]:
        for read in (lambda: self._labels, *(partial(self._array, domain) for domain in domains)):
            try:
                read()
            except UserError as error:
                yield error

    def digest(self) -> str:
        """Return a SHA-256 of the labels and of all images in use, as they were at first."""
        known: dict[object, str] = self.__dict__.setdefault("_digests", {})
        if self.in_use not in known:
            known[self.in_use] = self._digest()
        return known[self.in_use]

    def _digest(self) -> str:
        sha = hashlib.sha256(array_digest(self.name, self._labels).encode())
        for domain, severity in self.places_in_use():
            if self._file(domain).is_file():
                sha.update(f"{domain} {severity}".encode())
                self._update(sha, domain, _rows(severity))
        return sha.hexdigest()

    def _update(self, sha: hashlib._Hash, domain: str, rows: slice) -> None:
        """Read the images: those of a mapped file would count as memory of the run."""
        array = self._array(domain)
        with self._file(domain).open("rb") as file:
            file.seek(array.offset + rows.start * array[0].nbytes)
            for _ in range(rows.start, rows.stop, _AT_ONCE):
                sha.update(file.read(_AT_ONCE * array[0].nbytes))

    def _file(self, stem: str) -> Path:
        return self.data_dir / self.folder / f"{stem}.npy"

    @cached_property
    def _labels(self) -> np.ndarray:
        labels = self._open("labels", SHAPE[:1]).astype(np.int64)
        if labels.min() < 0 or labels.max() >= self.num_classes:
            raise self.fault(
                f"{str(self._file('labels'))!r} holds labels outside 0 .. {self.num_classes - 1}"
            )
        return labels

    def _array(self, domain: str) -> np.ndarray:
        if domain not in self._arrays:
            array = self._open(domain, SHAPE)
            if array.dtype != np.uint8:
                raise self.fault(f"{str(self._file(domain))!r} holds {array.dtype}, not uint8")
            self._arrays[domain] = array
        return self._arrays[domain]

    def _open(self, stem: str, shape: tuple[int, ...]) -> np.ndarray:
        file = self._file(stem)
        try:
            # Copy on write: torch warns of arrays that cannot be written to.
            array = np.load(file, mmap_mode="c", allow_pickle=False)
        except FileNotFoundError as error:
            raise self.fault(f"no file {str(file)!r}") from error
        except PermissionError as error:
            raise self.fault(f"{str(file)!r} cannot be read ({error.strerror})") from error
        except (OSError, ValueError, EOFError) as error:
            raise self.fault(f"{str(file)!r} is truncated or no array ({error})") from error
        if array.shape != shape:
            raise self.fault(
                f"{str(file)!r} has shape {list(array.shape)}, but {list(shape)} is expected"
            )
        return array


class GeneratedCifarC(GeneratedDataset, _CifarC):
    """The corruptions made on the fly from the clean test images, by this package's code.

    An image gets the same corruption wherever it comes from: its official number seeds the draws.
    The published files were drawn with other random numbers, so figures differ slightly.

    Attributes:
        edition: whose test images.
    """

    edition: Edition

    def __init__(self, argument: str, data_dir: Path) -> None:
        super().__init__(argument, data_dir)
        self._clean = read_split(self.edition, "test", data_dir, self.fault)

    def labels(self, domain: str, severity: int) -> np.ndarray:
        return self._clean.labels

    def images(self, domain: str, severity: int, indices: np.ndarray) -> Tensor:
        clean = take_rows(self._clean.images, indices)
        return self.corrupted(clean, domain, severity, self._clean.index[indices])

    def digest(self) -> str:
        return self._digest

    @cached_property
    def _digest(self) -> str:
        clean = self._clean
        return array_digest(self.name, clean.images, clean.labels, clean.index)


def _rows(severity: int) -> slice:
    return slice(IMAGES * (severity - 1), IMAGES * severity)


class _SourceCifar(StoredDataset):
    """Clean training images."""

    domains = ("train",)
    benchmark = Benchmark(batch_size=200)
    edition: Edition

    def __init__(self, argument: str, data_dir: Path) -> None:
        super().__init__(argument, data_dir)
        self._clean = read_split(self.edition, "train", data_dir, self.fault)

    def labels(self, domain: str, severity: int = NATURAL) -> np.ndarray:
        return self._clean.labels

    def images(self, domain: str, severity: int, indices: np.ndarray) -> Tensor:
        return take_rows(self._clean.images, indices)

    def digest(self) -> str:
        return self._digest

    @cached_property
    def _digest(self) -> str:
        return array_digest(self.name, self._clean.images, self._clean.labels)


_CLEAN = {
    "licence": "research use; none is given",
    "origin": "https://www.cs.toronto.edu/~kriz/cifar.html",
}
_CORRUPTED = "CC BY 4.0"


class SourceCifar10(_SourceCifar):
    """``cifar10``: the training images of CIFAR-10."""

    name = "cifar10"
    facts = DatasetFacts("CIFAR-10 (train)", 10, 50_000, **_CLEAN, get="cifar10")
    edition = CIFAR10
    prompt_names = CIFAR10_NAMES


class SourceCifar100(_SourceCifar):
    """``cifar100``: the training images of CIFAR-100, fine labels."""

    name = "cifar100"
    facts = DatasetFacts("CIFAR-100 (train)", 100, 50_000, **_CLEAN, get="cifar100")
    edition = CIFAR100
    prompt_names = CIFAR100_NAMES


class Cifar10C(PublishedCifarC):
    """``cifar10-c``: CIFAR-10-C as published."""

    name = "cifar10-c"
    facts = DatasetFacts(
        "CIFAR-10-C",
        10,
        IMAGES,
        _CORRUPTED,
        "https://zenodo.org/records/2535967",
        get="cifar10-c",
    )
    folder = "CIFAR-10-C"
    prompt_names = CIFAR10_NAMES
    benchmark = ON_CIFAR10


class Cifar100C(PublishedCifarC):
    """``cifar100-c``: CIFAR-100-C as published."""

    name = "cifar100-c"
    facts = DatasetFacts(
        "CIFAR-100-C",
        100,
        IMAGES,
        _CORRUPTED,
        "https://zenodo.org/records/3555552",
        get="cifar100-c",
    )
    folder = "CIFAR-100-C"
    prompt_names = CIFAR100_NAMES
    benchmark = ON_CIFAR100


class Cifar10CGenerated(GeneratedCifarC):
    """``cifar10-c@gen``: CIFAR-10-C made on the fly from the test images of CIFAR-10."""

    name = "cifar10-c@gen"
    facts = DatasetFacts("CIFAR-10-C, generated", 10, IMAGES, **_CLEAN, get="cifar10")
    edition = CIFAR10
    prompt_names = CIFAR10_NAMES
    benchmark = ON_CIFAR10


class Cifar100CGenerated(GeneratedCifarC):
    """``cifar100-c@gen``: CIFAR-100-C made on the fly from the test images of CIFAR-100."""

    name = "cifar100-c@gen"
    facts = DatasetFacts("CIFAR-100-C, generated", 100, IMAGES, **_CLEAN, get="cifar100")
    edition = CIFAR100
    prompt_names = CIFAR100_NAMES
    benchmark = ON_CIFAR100
