"""Bounded access to labelled source images, for methods that need them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from tta.datasets.checks import check_all_known
from tta.datasets.images import to_unit_range
from tta.datasets.loading import Loader, Rows, image_loader
from tta.foundation.from_host import from_host

if TYPE_CHECKING:
    from tta.datasets.base import Dataset


class SourceData:
    """Source images and labels in shuffled batches; the test stream is not reachable from here.

    Labels of a batch are ``[B]``, or maps ``[B, H, W]`` (uint8) where the data set has such.

    Args:
        dataset: where the images are; all its domains at their first severity are used.
        batch_size: images per batch, as on the test stream.
        seed: of the shuffles.
        device: where batches are put.
        memory_format: layout of the image batches.
        workers: processes that load batches ahead, from the first batch until :meth:`close`;
            batches are the same for any number.

    Raises:
        UserError: an image is of no class.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        seed: int = 0,
        device: torch.device | str = "cpu",
        memory_format: torch.memory_format = torch.contiguous_format,
        workers: int = 0,
    ) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self.seed = seed
        self.device = torch.device(device)
        self.memory_format = memory_format
        self.workers = workers
        labels = [dataset.labels(name, dataset.severities[0]) for name in dataset.domains]
        sizes = [len(part) for part in labels]
        self._labels = np.concatenate(labels)
        check_all_known(self._labels, dataset.name)
        self._domain = np.repeat(np.arange(len(sizes)), sizes)
        self._index = np.concatenate([np.arange(size) for size in sizes])
        self._loader: Loader[Rows] | None = None

    def __len__(self) -> int:
        return len(self._labels)

    def order(self, epoch: int) -> np.ndarray:
        """Return the order in which ``epoch`` visits the images."""
        return np.random.default_rng([self.seed, epoch]).permutation(len(self))

    def one_pass(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield every image once: images ``[B, 3, H, W]`` in [0, 1] and labels ``[B]``."""
        return self.batches(self.parts(self.order(0)))

    def first_images(self, count: int) -> Iterator[Tensor]:
        """Yield the images of one pass, in batches, until there have been ``count``."""
        for images, _ in self.one_pass():
            yield images[:count]
            count -= len(images)
            if count <= 0:
                return

    def parts(self, order: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the rows ``order`` in batches."""
        for start in range(0, len(order), self.batch_size):
            yield order[start : start + self.batch_size]

    def batches(self, parts: Iterable[np.ndarray]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images and labels of batches of rows, which may be without end."""
        if self._loader is None:
            pin = self.device.type == "cuda"
            self._loader = image_loader(self.dataset, self.dataset.domains, self.workers, pin)
        parts, asked = itertools.tee(parts)
        loaded = self._loader(map(self._places, asked))
        for rows, levels in zip(parts, loaded, strict=True):
            labels = from_host(self._labels_of(rows), self.device)
            yield to_unit_range(levels, self.device, self.memory_format), labels

    def _labels_of(self, rows: np.ndarray) -> Tensor:
        """Return labels ``[B]``, or label maps ``[B, H, W]``."""
        if self.dataset.dense:
            return self.dataset.gather_maps(self.dataset.domains, *self._places(rows))
        return torch.from_numpy(self._labels[rows])

    def _places(self, rows: np.ndarray) -> Rows:
        severity = np.full(len(rows), self.dataset.severities[0])
        return self._domain[rows], severity, self._index[rows]

    def close(self) -> None:
        """End the processes that load batches; a later batch starts others."""
        if self._loader is not None:
            self._loader.close()


class SourceBatches:
    """Endless shuffled source batches whose position can be saved and restored.

    Args:
        source: the data.
        first_epoch: number of the first shuffle, so that two streams need not coincide.
    """

    def __init__(self, source: SourceData, first_epoch: int = 0) -> None:
        self.source = source
        self.epoch = first_epoch
        self.position = 0
        self._ahead: Iterator[tuple[Tensor, Tensor]] | None = None

    def __next__(self) -> tuple[Tensor, Tensor]:
        if self.position >= len(self.source):
            self.epoch, self.position = self.epoch + 1, 0
        if self._ahead is None:
            self._ahead = self.source.batches(self._from(self.epoch, self.position))
        images, labels = next(self._ahead)
        self.position += len(labels)
        return images, labels

    def _from(self, epoch: int, position: int) -> Iterator[np.ndarray]:
        """Yield the rows of all further batches."""
        for later in itertools.count(epoch):
            yield from self.source.parts(self.source.order(later)[position:])
            position = 0

    def state_dict(self) -> dict[str, int]:
        """Return the position in the stream."""
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go to a position in the stream."""
        if (self.epoch, self.position) != (state["epoch"], state["position"]):
            self._ahead = None
        self.epoch, self.position = state["epoch"], state["position"]
