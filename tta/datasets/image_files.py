"""Data sets whose images are files."""

from __future__ import annotations

import hashlib
import itertools
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import PIL
import torch
from torch import Tensor

from tta.datasets.base import PROBES, Dataset, shifted
from tta.datasets.decoded_cache import DecodedImages
from tta.datasets.headers import headers_of, sizes_of
from tta.datasets.identity import Identity, identify, stamp
from tta.datasets.images import MOST_HEADERS, check_image, file_size, read_image
from tta.datasets.resizing import FIT, Resizing
from tta.foundation.errors import UserError
from tta.foundation.geometry import Size


class ImageFileDataset(Dataset):
    """Images that are decoded when they are asked for.

    Attributes:
        cure: what to do about a file that is missing or damaged.
        published: whether files are read as the papers' code reads them, or as a viewer shows
            them; see :mod:`tta.datasets.pixels`.
        named_by_list: whether a list says which files there are, and not the folder they are in.
    """

    costly = True
    sizing = "backbone"
    resizing: Resizing = FIT
    cure: str = "replace it or remove it"
    published: bool = False
    named_by_list: bool = False

    @abstractmethod
    def file(self, domain: str, severity: int, index: int) -> Path:
        """Return the file of a sample."""

    def images(self, domain: str, severity: int, indices: np.ndarray) -> Tensor:
        return self.decoded(domain, severity, indices, self.image_size, self.resizing)

    def shown(self, domain: str, severity: int, indices: np.ndarray) -> Tensor:
        return self.images(domain, severity, indices)  # files are decoded to the size shown

    def original(self, domain: str, severity: int, index: int) -> Tensor:
        if self.makes_corruptions:
            return super().original(domain, severity, index)
        file = self.file(domain, severity, int(index))
        return read_image(file, cure=self.cure, published=self.published)

    def moved(self, domain: str, severity: int, indices: np.ndarray, shift: np.ndarray) -> Tensor:
        if self.makes_corruptions:  # in the size shown
            return shifted(self.images(domain, severity, indices), shift)
        parts = [
            self.fitted(shifted(self.original(domain, severity, index)[None], one[None]))
            for index, one in zip(indices, shift, strict=True)
        ]
        return torch.cat(parts)

    def native_sizes(self, domain: str, severity: int) -> frozenset[Size]:
        count = len(self.labels(domain, severity))
        probes = range(0, count, max(1, count // PROBES))
        files = (self.file(domain, severity, index) for index in probes)
        return sizes_of(headers_of(files, self.cure, self.published))

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
        stamps = [stamp(self.file(domain, severity, int(index))) for index in indices]
        return self._store(domain, severity, size, resizing).take(indices, stamps, decode)

    def _decode(
        self,
        domain: str,
        severity: int,
        size: tuple[int, int] | None,
        resizing: Resizing,
        indices: np.ndarray,
    ) -> Tensor:
        files = [self.file(domain, severity, int(index)) for index in indices]
        images = [read_image(file, size, resizing, self.cure, self.published) for file in files]
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
            ends = [self.file(domain, severity, index).absolute() for index in (0, count - 1)]
            facts = [PIL.__version__, resizing, size, self.published, count, *ends]
            key = hashlib.sha256(repr(facts).encode()).hexdigest()  # rows are told by their stamps
            opened[place] = DecodedImages(self.decoded_cache, key, count, size)
        return opened[place]

    def encoded_bytes(self, domain: str, severity: int, indices: np.ndarray) -> np.ndarray:
        files = [self.file(domain, severity, int(index)) for index in indices]
        return np.array([file_size(file, self.cure) for file in files], np.int64)

    def faults(
        self, domains: tuple[str, ...], severities: tuple[int, ...], probes: int | None = None
    ) -> Iterator[UserError]:
        for domain, severity in itertools.product(domains, severities):
            try:
                size = len(self.labels(domain, severity))
            except UserError as error:
                yield error
                continue
            yield from self._count_faults(domain, severity, size)
            header = not self.published and size <= MOST_HEADERS
            if probes is not None and not header:
                indices = self._probed(domain, severity, size, probes)
            else:
                indices = range(size)
            for index in indices:
                file = self.file(domain, severity, index)
                try:
                    check_image(file, self.cure, self.published, header)
                except UserError as error:
                    yield error

    def _probed(self, domain: str, severity: int, size: int, probes: int) -> Iterable[int]:
        """Return which files are opened: some over all of the domain, and those not there."""
        some = np.linspace(0, size - 1, min(size, probes)).astype(int).tolist()
        if not self.named_by_list:
            return some
        places = (self.file(domain, severity, index) for index in range(size))
        return sorted({*some, *(index for index, file in enumerate(places) if not file.exists())})

    def _count_faults(self, domain: str, severity: int, size: int) -> Iterator[UserError]:
        yield from ()

    @property
    def identity_name(self) -> str:
        """What the digest knows the data by, beside its labels and files."""
        return self.name

    def digest(self) -> str:
        """Return a SHA-256 of every label and file that is in use, as it was when first asked for.

        Files are told apart by their content where that is cheap, and else by size and time.
        """
        return self._digest(self._identity.exact)

    def portable_digest(self) -> str:
        return self._digest(self._identity.portable)

    def _digest(self, files: str) -> str:
        sha = hashlib.sha256(f"{self.identity_name} {files}".encode())
        for domain, _, labels in self._labelled_places():
            sha.update(f"{domain}:".encode() + np.ascontiguousarray(labels, "<i8").tobytes())
        return sha.hexdigest()

    @property
    def _identity(self) -> Identity:
        known: dict[object, Identity] = self.__dict__.setdefault("_identities", {})
        if self.in_use not in known:
            known[self.in_use] = identify(list(self._named_files()))
        return known[self.in_use]

    def _named_files(self) -> Iterator[tuple[str, Path]]:
        for domain, severity, labels in self._labelled_places():
            for index in range(len(labels)):
                file = self.file(domain, severity, index)
                yield f"{domain}/{severity}/{file.parent.name}/{file.name}", file

    def _labelled_places(self) -> Iterator[tuple[str, int, np.ndarray]]:
        for domain, severity in self.places_in_use():
            try:
                yield domain, severity, self.labels(domain, severity)
            except UserError:  # a domain that is not on disk is no part of any stream
                continue
