"""Data sets whose images are files."""

from __future__ import annotations

import hashlib
import itertools
from abc import abstractmethod
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import PIL
import torch
from torch import Tensor

from tta.datasets.base import Dataset
from tta.datasets.decoded_cache import DecodedImages
from tta.datasets.images import check_image, read_image
from tta.datasets.resizing import FIT, Resizing
from tta.datasets.sizes import sizes_of
from tta.errors import UserError
from tta.geometry import Size

PROBES = 64
"""Files of a domain whose sizes are part of the digest: opening a million would take minutes."""


class ImageFileDataset(Dataset):
    """Images that are decoded when they are asked for.

    Attributes:
        cure: what to do about a file that is missing or damaged.
    """

    costly = True
    sizing = "backbone"
    resizing: Resizing = FIT
    cure: str = "replace it or remove it"

    @abstractmethod
    def file(self, domain: str, severity: int, index: int) -> Path:
        """Return the file of a sample."""

    def images(self, domain: str, severity: int, indices: np.ndarray) -> Tensor:
        return self.decoded(domain, severity, indices, self.image_size, self.resizing)

    def shown(self, domain: str, severity: int, indices: np.ndarray) -> Tensor:
        return self.images(domain, severity, indices)  # files are decoded to the size shown

    def native_sizes(self, domain: str, severity: int) -> frozenset[Size]:
        probes = _probes(len(self.labels(domain, severity)))
        return sizes_of((self.file(domain, severity, index) for index in probes), self.cure)

    def decoded(
        self,
        domain: str,
        severity: int,
        indices: np.ndarray,
        size: tuple[int, int] | None,
        resizing: Resizing,
    ) -> Tensor:
        """Return uint8 images ``[B, 3, H, W]`` of ``size``, out of the cache where there is one."""
        decode = partial(self._decode, domain, severity, size, resizing)
        if self.decoded_cache is None or size is None:
            return decode(indices)
        return self._store(domain, severity, size, resizing).take(indices, decode)

    def _decode(
        self,
        domain: str,
        severity: int,
        size: tuple[int, int] | None,
        resizing: Resizing,
        indices: np.ndarray,
    ) -> Tensor:
        files = [self.file(domain, severity, int(index)) for index in indices]
        images = [read_image(file, size, resizing, self.cure) for file in files]
        shapes = {tuple(image.shape[1:]) for image in images}
        if len(shapes) > 1:
            raise UserError(
                f"images of domain {domain!r} differ in size ({min(shapes)} and {max(shapes)}); "
                "set image_size, so that they are resized to one"
            )
        return torch.stack(images)

    def _store(
        self, domain: str, severity: int, size: tuple[int, int], resizing: Resizing
    ) -> DecodedImages:
        opened = self.__dict__.setdefault("_stores", {})
        place = domain, severity, size, resizing
        if place not in opened:
            count = len(self.labels(domain, severity))
            sha = hashlib.sha256(f"{PIL.__version__} {resizing} {size} {count}\n".encode())
            for index in _probes(count):
                file = self.file(domain, severity, index)
                sha.update(f"{file.absolute()} {file.stat().st_mtime_ns} ".encode())
                sha.update(_identity(file))
            key = sha.hexdigest()
            opened[place] = DecodedImages(self.decoded_cache, key, count, size)
        return opened[place]

    def encoded_bytes(self, domain: str, severity: int, indices: np.ndarray) -> np.ndarray:
        sizes = [self.file(domain, severity, int(index)).stat().st_size for index in indices]
        return np.array(sizes, np.int64)

    def faults(self, domains: tuple[str, ...], severities: tuple[int, ...]) -> Iterator[UserError]:
        for domain, severity in itertools.product(domains, severities):
            try:
                size = len(self.labels(domain, severity))
            except UserError as error:
                yield error
                continue
            yield from self._count_faults(domain, severity, size)
            for index in range(size):
                try:
                    check_image(self.file(domain, severity, index), self.cure)
                except UserError as error:
                    yield error

    def _count_faults(self, domain: str, severity: int, size: int) -> Iterator[UserError]:
        yield from ()

    def digest(self) -> str:
        """Return a SHA-256 of every label, and of the names and sizes of some files."""
        sha = hashlib.sha256(self.name.encode())
        for domain in self.domains:
            try:
                labels = self.labels(domain, self.default_severity)
            except UserError:  # a domain that is not on disk is no part of any stream
                continue
            sha.update(f"{domain}:".encode() + np.ascontiguousarray(labels, "<i8").tobytes())
            for index in _probes(len(labels)):
                sha.update(_identity(self.file(domain, self.default_severity, index)))
        return sha.hexdigest()


def _probes(count: int) -> range:
    return range(0, count, max(1, count // PROBES))


def _identity(file: Path) -> bytes:
    size = file.stat().st_size if file.is_file() else -1
    return f"{file.parent.name}/{file.name}:{size}\n".encode()
