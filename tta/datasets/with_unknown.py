"""A data set beside another, whose images are of none of its classes: an open set."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tta.datasets.base import Dataset
from tta.datasets.resizing import AS_THEY_ARE, SQUASH
from tta.foundation.errors import UserError
from tta.foundation.geometry import Size, in_words
from tta.tasks.open_set import UNKNOWN

FIRST_ID = 1_000_000_000
"""Of the unknown images, where corruptions draw by ids: none has the draws of a known one."""
WAYS = {
    "same domains": "of the same domains",
    "corrupted alike": "corrupted as the known images are",
    "as they are": "as they are, in every domain the same",
}
"""Where the unknown images of a domain come from."""


class WithUnknown(Dataset):
    """The images of a data set, and in every domain those of another behind them.

    What is not said here is that of the known images: their classes, source model and domains.

    Args:
        known: the test data.
        unknown: images of none of its classes; its labels say nothing here.
        domains: of the known images, those that are shown.

    Attributes:
        way: where unknown images come from, one of :data:`WAYS`: the domains of the same names
            and severities where there are all; else all images of the data set, corrupted where
            the known ones are corrupted on the fly.

    Raises:
        UserError: the test data is a stream in an order of its own.
    """

    def __init__(self, known: Dataset, unknown: Dataset, domains: tuple[str, ...]) -> None:
        if known.in_order:
            raise UserError(
                f"dataset {known.name!r} is a stream in an order of its own, beside which no other "
                "images can be changed alike; leave --unknown out"
            )
        self.known, self.unknown = known, unknown
        self.name = f"{known.name}+{unknown.name}"
        alike = {*domains} <= {*unknown.domains} and {*known.severities} <= {*unknown.severities}
        made = "corrupted alike" if known.makes_corruptions else "as they are"
        self.way = "same domains" if alike else made
        self.costly = known.costly or unknown.costly
        self.provenance = {**known.provenance, "unknown": unknown.name, "unknown_way": self.way}

    def fit_unknown(self) -> None:
        """Let unknown images be shown as the known ones, whose size must be known by now."""
        place = (self.known.domains[0], self.known.default_severity)
        size = self.known.image_size
        if self.way == "corrupted alike" and not self.known.square:
            (size,) = self.known.native_sizes(*place)
        own = self.unknown.native_sizes(self.unknown.domains[0], self.unknown.default_severity)
        resizing = self.known.resizing if self.known.resizing != AS_THEY_ARE else SQUASH
        self.unknown.image_size = size
        self.unknown.resizing = AS_THEY_ARE if own == {size} else resizing
        self.unknown.decoded_cache = self.known.decoded_cache
        self.costly = self.known.costly or self.unknown.costly or own != {size}

    def check_all_known(self, labels: np.ndarray) -> None:
        """Refuse labels ``[N]`` of the known images where some are of no class.

        Raises:
            UserError: there is one.
        """
        unknown = int((labels == UNKNOWN).sum())
        if unknown:
            raise UserError(
                f"{unknown:,} of the {len(labels):,} images of {self.known.name!r} are unknown "
                "(label -1) themselves, and --unknown shows others beside images of known classes; "
                "leave --unknown out, or take them out of the data"
            )

    def check_different(self) -> None:
        """Refuse unknown images that are the known ones; looks at places in use.

        Raises:
            UserError: both have one digest.
        """
        if type(self.known) is type(self.unknown) and self._same():
            raise UserError(
                f"--unknown is the same data as --dataset, {self.known.name!r}: its images are of "
                "known classes; name a data set of other classes"
            )

    def _same(self) -> bool:
        return self.known.digest() == self.unknown.digest()

    def counts(self, domain: str, severity: int) -> tuple[int, int]:
        """Return how many known and unknown images a domain has at a severity."""
        return len(self.known.labels(domain, severity)), len(self._pool(domain, severity))

    def _pool(self, domain: str, severity: int) -> np.ndarray:
        """Return (number of the domain, index) ``[N, 2]`` of the unknown images of a domain."""
        names, level = self.unknown.domains, self.unknown.default_severity
        if self.way == "same domains":
            names, level = (domain,), severity
        parts = [
            np.stack([np.full(size, self.unknown.domains.index(name)), np.arange(size)], 1)
            for name in names
            for size in [len(self.unknown.labels(name, level))]
        ]
        return np.concatenate(parts)

    def labels(self, domain: str, severity: int) -> np.ndarray:
        unknown = np.full(len(self._pool(domain, severity)), UNKNOWN)
        return np.concatenate([self.known.labels(domain, severity), unknown])

    def images(self, domain: str, severity: int, indices: np.ndarray) -> Tensor:
        """Return images as they are shown: the two data sets may differ in size."""
        return self.shown(domain, severity, indices)

    def shown(self, domain: str, severity: int, indices: np.ndarray) -> Tensor:
        first = len(self.known.labels(domain, severity))
        known = indices < first
        if known.all():
            return self.known.shown(domain, severity, indices)
        unknown = self._unknown(domain, severity, indices[~known] - first)
        if not known.any():
            return unknown
        images = torch.empty(len(indices), *unknown.shape[1:], dtype=torch.uint8)
        images[torch.from_numpy(known)] = self.known.shown(domain, severity, indices[known])
        images[torch.from_numpy(~known)] = unknown
        return images

    def original(self, domain: str, severity: int, index: int) -> Tensor:
        first = len(self.known.labels(domain, severity))
        if index < first:
            return self.known.original(domain, severity, index)
        if self.way == "corrupted alike":
            return super().original(domain, severity, index)
        number, place = self._pool(domain, severity)[index - first]
        level = severity if self.way == "same domains" else self.unknown.default_severity
        return self.unknown.original(self.unknown.domains[number], level, place)

    def _unknown(self, domain: str, severity: int, indices: np.ndarray) -> Tensor:
        number, index = self._pool(domain, severity)[indices].T
        same = self.way == "same domains"
        level = np.full(len(indices), severity if same else self.unknown.default_severity)
        images = self.unknown.gather(self.unknown.domains, number, level, index)
        if self.way != "corrupted alike":
            return images
        made = self.known.corrupted(images, domain, severity, FIRST_ID + indices)
        return made if self.known.square else self.known.fitted(made)

    def native_sizes(self, domain: str, severity: int) -> frozenset[Size]:
        return self.known.native_sizes(domain, severity)

    def encoded_bytes(self, domain: str, severity: int, indices: np.ndarray) -> np.ndarray:
        known = indices < len(self.known.labels(domain, severity))
        sizes = np.zeros(len(indices), np.int64)
        if known.any():
            sizes[known] = self.known.encoded_bytes(domain, severity, indices[known])
        if not known.all():
            sizes[~known] = super().encoded_bytes(domain, severity, indices[~known])
        return sizes

    def check(self, domains: tuple[str, ...], severities: tuple[int, ...]) -> None:
        self.known.check(domains, severities)
        if self.way == "same domains":
            self.unknown.check(domains, severities)
        else:
            self.unknown.check(self.unknown.domains, (self.unknown.default_severity,))

    def understood(self) -> dict[str, str]:
        count = len(self._pool(self.known.domains[0], self.known.default_severity))
        text = f"{count:,} images of {self.unknown.name!r}, {WAYS[self.way]}"
        resizing, size = self.unknown.resizing, self.unknown.image_size
        if size is not None and resizing != AS_THEY_ARE:
            text += f", resized to {in_words(size)}"
        return {**self.known.understood(), "unknown": text}

    def digest(self) -> str:
        parts = (self.known.digest(), self.unknown.digest(), self.way)
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()

    def portable_digest(self) -> str:
        parts = (self.known.portable_digest(), self.unknown.portable_digest(), self.way)
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def _of_known(name: str) -> Any:
    """Return what reads and writes an attribute of the known images' data set."""

    return property(
        lambda self: getattr(self.known, name),
        lambda self, value: setattr(self.known, name, value),
    )


OF_KNOWN = (
    "argument",
    "domains",
    "severities",
    "default_severity",
    "num_classes",
    "class_names",
    "prompt_names",
    "class_subset",
    "source_outputs",
    "benchmark",
    "sizing",
    "square",
    "image_size",
    "resizing",
    "decoded_cache",
    "in_use",
)
for _name in OF_KNOWN:  # not in __init__: numbering classes and fitting images change them later
    setattr(WithUnknown, _name, _of_known(_name))


def known_part(dataset: Dataset) -> Dataset:
    """Return the data set of the known images: all of it, unless there are unknown ones beside."""
    return dataset.known if isinstance(dataset, WithUnknown) else dataset
