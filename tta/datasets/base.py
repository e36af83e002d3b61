"""What every data set offers: samples by (domain, severity, index), and their labels."""

from __future__ import annotations

import hashlib
import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from tta.datasets.benchmark import Benchmark
from tta.datasets.images import png_bytes
from tta.datasets.resizing import Resizing, fitted, fitted_labels
from tta.foundation.errors import UserError
from tta.foundation.geometry import Size
from tta.ops.views.shift import moved

_LEVELS = 16  # more than there are severities
NATURAL = 0
"""The severity of images that nobody corrupted."""
PROBES = 64
"""Files of a domain that are looked at before a run where they may be many."""


def by_place(
    domain: np.ndarray, severity: np.ndarray
) -> Iterator[tuple[int, int, slice | np.ndarray]]:
    """Yield every domain number and severity that occurs, and which of the samples ``[B]`` are so.

    All of them are a slice: most batches are of one domain, and its images may be a view.
    """
    if not len(domain):
        return
    if len(domain) == 1 or (domain == domain[0]).all() and (severity == severity[0]).all():
        yield int(domain[0]), int(severity[0]), slice(0, len(domain))
        return
    key = domain * _LEVELS + severity
    for value in np.unique(key):
        yield int(value // _LEVELS), int(value % _LEVELS), np.flatnonzero(key == value)


class Dataset(ABC):
    """Images of several domains.

    Attributes:
        argument: what may follow ``NAME:`` in a specification: "none", the "path" of the user's
            files (which must), the domain "held_out" of training, or another "choice".
        name: identity of the data, as in records; data made differently has another name.
        domains: names in the published order.
        severities: available severities; ``(0,)`` for natural domains.
        default_severity: the one that runs use unless told otherwise.
        task: "segmentation" where a label is a map of classes, one per pixel; an image of such
            data has no class of its own, and :meth:`labels` gives 0 for all.
        ignore_label: value in label maps of pixels that no figure counts.
        palette: red, green and blue of each class in pictures of label maps, or None.
        num_classes: number of classes that labels count.
        class_names: names of the classes in label order, wnids of ImageNet's; or None.
        prompt_names: what its classes are called in text, in label order, where ``class_names`` and
            names of folders do not say it; else None.
        class_subset: outputs of the source model that its classes are, in label order, or None
            for all of them.
        source_outputs: how many outputs a source model has that ``class_subset`` numbers, or None
            for as many as there are classes.
        benchmark: defaults of a run on it: model, source images, batch size and so on.
        provenance: what images made on the fly were made with, as plain values for the records.
        sizing: who decides the size in which images are shown, unless options do: "own" images
            follow the rule of :mod:`tta.experiment.showing`, those that follow the "backbone" get
            its size by the published ``resizing``, and those of "fixed" size keep it.
        square: whether images can only be shown as squares of at least 16 pixels, because they
            are corrupted in the size shown.
        usual_size: (height, width) in which images that are segmented are shown unless options
            say otherwise; None for their own.
        image_size: (height, width) in which images are shown; set by
            :mod:`tta.experiment.showing`. None keeps them as they are.
        resizing: how they get that size.
        in_order: whether samples make sense in the order of their indices alone.
        length: images of a stream without end, set from ``--num-samples``; None for all others.
        costly: whether images are decoded or made when they are asked for, which worker processes
            can do ahead.
        makes_corruptions: whether its images are corrupted on the fly, by
            ``corrupted(clean, domain, severity, ids)``, which other images may be shown to; several
            follow each other where a domain's name joins theirs, see
            :mod:`tta.datasets.composed`.
        decoded_cache: folder in which decoded image files are kept, or None.
        in_use: domains and severities that the stream shows, in the data set's order, set by
            :meth:`check`; None before. The digest of large data follows these.
    """

    argument: ClassVar[Literal["none", "path", "held_out", "choice"]] = "none"
    name: str
    domains: tuple[str, ...]
    severities: tuple[int, ...] = (NATURAL,)
    default_severity: int = NATURAL
    task: Literal["classification", "segmentation"] = "classification"
    ignore_label: int = 255
    palette: tuple[tuple[int, int, int], ...] | None = None
    num_classes: int
    class_names: tuple[str, ...] | None = None
    prompt_names: tuple[str, ...] | None = None
    class_subset: tuple[int, ...] | None = None
    source_outputs: int | None = None
    benchmark: Benchmark = Benchmark()
    provenance: Mapping[str, Any] = MappingProxyType({})
    sizing: Literal["own", "backbone", "fixed"] = "fixed"
    square: bool = False
    usual_size: Size | None = None
    image_size: Size | None = None
    resizing: Resizing = Resizing()
    in_order: bool = False
    length: int | None = None
    costly: bool = False
    makes_corruptions: bool = False
    decoded_cache: Path | None = None
    in_use: tuple[tuple[str, int], ...] | None = None

    @property
    def dense(self) -> bool:
        """Whether a label is a map of classes, one per pixel."""
        return self.task == "segmentation"

    @classmethod
    def open(cls, argument: str, data_dir: str | Path | None) -> Dataset:
        """Return the data set that a specification stands for.

        Args:
            argument: what follows ``NAME:``, or "".
            data_dir: folder of the published data sets; None for ``$TTA_DATA_DIR``.
        """
        return cls() if cls.argument == "none" else cls(argument)

    @abstractmethod
    def labels(self, domain: str, severity: int) -> np.ndarray:
        """Return the labels ``[N]`` (int64) of one domain at one severity."""

    @abstractmethod
    def images(self, domain: str, severity: int, indices: np.ndarray) -> Tensor:
        """Return images ``[B, 3, H, W]`` (uint8, in host memory) of the given samples."""

    def label_maps(self, domain: str, severity: int, indices: np.ndarray) -> Tensor:
        """Return the classes of all pixels ``[B, H, W]`` (uint8, in host memory) of some samples.

        Of segmentation alone; in the size of :meth:`images`.
        """
        raise NotImplementedError(f"{self.name!r} has no label maps")

    def fitted(self, images: Tensor) -> Tensor:
        """Return uint8 images ``[B, 3, H, W]`` in ``image_size``."""
        return fitted(images, self.image_size, self.resizing)

    def fitted_labels(self, labels: Tensor) -> Tensor:
        """Return label maps ``[B, H, W]`` in ``image_size`` as their images get it."""
        return fitted_labels(labels, self.image_size, self.resizing)

    def shown(self, domain: str, severity: int, indices: np.ndarray) -> Tensor:
        """Return the given samples as models are shown them: ``[B, 3, H, W]``, uint8."""
        return self.fitted(self.images(domain, severity, indices))

    def moved(self, domain: str, severity: int, indices: np.ndarray, shift: np.ndarray) -> Tensor:
        """Return the given samples as they are shown, each moved before it is resized.

        A transform that cuts the border off brings real pixels in; else the outermost ones are
        repeated.

        Args:
            domain: see :meth:`images`.
            severity: likewise.
            indices: likewise.
            shift: pixels down and to the right ``[B, 2]``; a third column, where there is one, is
                1 for images whose opposite sides are joined.
        """
        return self.fitted(shifted(self.images(domain, severity, indices), shift))

    def shown_maps(self, domain: str, severity: int, indices: np.ndarray) -> Tensor:
        """Return label maps ``[B, H, W]`` (uint8) as the images of :meth:`shown` are.

        They may be of another size where published figures are.
        """
        return self.fitted_labels(self.label_maps(domain, severity, indices))

    def original(self, domain: str, severity: int, index: int) -> Tensor:
        """Return an image ``[3, H, W]`` (uint8, in host memory) before it is resized.

        Images that are made in the size shown have no other.
        """
        return self.images(domain, severity, np.array([index]))[0]

    def native_sizes(self, domain: str, severity: int) -> frozenset[Size]:
        """Return every (height, width) that images have before they are resized.

        Of images of one's own all are looked at; otherwise some of ``domain`` speak for all.
        """
        first = self.images(domain, severity, np.array([0]))
        return frozenset({tuple(first.shape[-2:])})

    def encoded_bytes(self, domain: str, severity: int, indices: np.ndarray) -> np.ndarray:
        """Return the size in bytes ``[B]`` of the given samples as files: as PNG, if not stored."""
        parts = np.array_split(indices, max(1, len(indices) // 64))
        return np.concatenate([png_bytes(self.images(domain, severity, part)) for part in parts])

    def gather(
        self,
        names: tuple[str, ...],
        domain: np.ndarray,
        severity: np.ndarray,
        index: np.ndarray,
        shift: np.ndarray | None = None,
    ) -> Tensor:
        """Return images ``[B, 3, H, W]``, as shown, of samples that may be of several domains.

        Args:
            names: the domains that ``domain`` numbers.
            domain: domain number of each sample ``[B]``.
            severity: severity of each sample ``[B]``.
            index: index of each sample in its domain ``[B]``.
            shift: how each is moved, see :meth:`moved`; None: not at all.
        """
        places = list(by_place(domain, severity))
        if shift is None or not shift.any():
            parts = [self.shown(names[place], level, index[rows]) for place, level, rows in places]
        else:
            parts = [
                self.moved(names[place], level, index[rows], shift[rows])
                for place, level, rows in places
            ]
        if len(parts) == 1:
            return parts[0]
        order = np.argsort(np.concatenate([rows for _, _, rows in places]))
        return torch.cat(parts)[torch.from_numpy(order)]

    def gather_maps(
        self, names: tuple[str, ...], domain: np.ndarray, severity: np.ndarray, index: np.ndarray
    ) -> Tensor:
        """Return the label maps ``[B, H, W]`` of the samples of :meth:`gather`."""
        places = list(by_place(domain, severity))
        parts = [self.shown_maps(names[place], level, index[rows]) for place, level, rows in places]
        if len(parts) == 1:
            return parts[0]
        order = np.argsort(np.concatenate([rows for _, _, rows in places]))
        return torch.cat(parts)[torch.from_numpy(order)]

    def stored_order(self) -> tuple[np.ndarray, np.ndarray]:
        """Return domain number and index of every sample in the order in which it is stored."""
        sizes = [len(self.labels(domain, self.default_severity)) for domain in self.domains]
        domain = np.repeat(np.arange(len(sizes)), sizes)
        return domain, np.concatenate([np.arange(size) for size in sizes])

    def faults(
        self, domains: tuple[str, ...], severities: tuple[int, ...], probes: int | None = None
    ) -> Iterator[UserError]:
        """Yield an error for every file of these domains that is missing or damaged.

        Args:
            domains: of the data set.
            severities: of each.
            probes: files to be opened of each domain and severity, where they may be a million;
                None opens all. How many there are is known without.
        """
        yield from ()

    def check(self, domains: tuple[str, ...], severities: tuple[int, ...]) -> None:
        """Check, before the stream starts, that these domains can be read.

        Of many files some are opened; a damaged one among the others is refused in the same words
        when it is to be shown.

        Raises:
            UserError: naming the first file that is missing or found damaged.
        """
        for fault in self.faults(domains, severities, PROBES):
            raise fault
        chosen = [domain for domain in self.domains if domain in domains]
        self.in_use = tuple(itertools.product(chosen, sorted(severities)))

    def places_in_use(self) -> Sequence[tuple[str, int]]:
        """Return the domains and severities in use, by default all at the default severity."""
        return self.in_use or [(domain, self.default_severity) for domain in self.domains]

    def understood(self) -> dict[str, str]:
        """Return in words how the user's data was taken.

        By key of :data:`tta.foundation.notes.ORDER`.
        """
        return {}

    def digest(self) -> str:
        """Return a SHA-256 that differs where the data differs.

        By default it is over the labels and images of :meth:`places_in_use`, all of which are
        read; data that is known by other means had better say so itself.
        """
        return content_digest(self)

    def portable_digest(self) -> str:
        """Return one that is the same on every machine, by which records tell data apart.

        It is weaker than :meth:`digest` where that follows the times of files too large to read.
        """
        return self.digest()


def shifted(images: Tensor, shift: np.ndarray) -> Tensor:
    """Return images ``[B, 3, H, W]`` moved as :meth:`Dataset.moved` says.

    Raises:
        UserError: nothing of an image would be left, or it would be where it was.
    """
    height, width = images.shape[-2:]
    is_far = (np.abs(shift[:, :2]) >= (height, width)).any(1)
    if (is_far & ~shift[:, 2:].any(1)).any():
        raise UserError(
            f"copies cannot be moved by {np.abs(shift).max()} pixels, which leaves nothing of"
            f" images of {height} x {width}: pass a smaller --translate-by"
        )
    wraps, turns = shift[:, 2:].any(1), (shift[:, :2] % (height, width) == 0).all(1)
    if (wraps & turns & shift[:, :2].any(1)).any():
        raise UserError(
            f"copies that are moved by {np.abs(shift[:, :2]).max()} pixels round images of "
            f"{height} x {width} are the images themselves: pass another --translate-by"
        )
    return moved(images, *torch.from_numpy(np.ascontiguousarray(shift.T)))


def name_digest(dataset: Dataset) -> str:
    """Return a digest for data that its name and this package's code determine."""
    return hashlib.sha256(dataset.name.encode()).hexdigest()


def content_digest(dataset: Dataset) -> str:
    """Return a digest of the name, labels and images of the places in use."""
    sha = hashlib.sha256(dataset.name.encode())
    for domain, severity in dataset.places_in_use():
        labels = dataset.labels(domain, severity)
        sha.update(f"\n{domain} {severity} {len(labels)}\n".encode())
        sha.update(np.ascontiguousarray(labels).tobytes())
        for part in np.array_split(np.arange(len(labels)), -(-len(labels) // _LEVELS)):
            images = dataset.images(domain, severity, part).contiguous()
            sha.update(f"{images.dtype} {tuple(images.shape)}\n".encode())
            sha.update(images.numpy().tobytes())
    return sha.hexdigest()
