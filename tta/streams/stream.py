"""From an index table to batches of images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tta.datasets.base import Dataset, by_place
from tta.datasets.images import to_unit_range
from tta.datasets.loading import Rows, image_loader
from tta.ops.views.shift import moved
from tta.streams.plan import StreamPlan


@dataclass(frozen=True)
class Batch:
    """Images of a stream, without their labels.

    Attributes:
        images: float32 ``[B, 3, H, W]`` in [0, 1], on the run's device.
        start: position of the first image in the stream.
        stop: position after the last image.
        reset_before: whether the scenario resets the method before this batch.
    """

    images: Tensor
    start: int
    stop: int
    reset_before: bool


class Stream:
    """Batches of a data set in the order of a plan.

    Args:
        dataset: where images come from.
        plan: the order.
        batch_size: images per batch; a shorter batch ends every segment.
        contiguous: let batches run across segments instead (but not across a reset).
        device: where images are put.
        memory_format: layout of the image batches.
        workers: processes that load batches ahead, for the whole stream; batches are the same for
            any number.

    Attributes:
        edges: see :func:`batch_edges`.
    """

    def __init__(
        self,
        dataset: Dataset,
        plan: StreamPlan,
        batch_size: int,
        *,
        contiguous: bool = False,
        device: torch.device | str = "cpu",
        memory_format: torch.memory_format = torch.contiguous_format,
        workers: int = 0,
    ) -> None:
        self.dataset = dataset
        self.plan = plan
        self.device = torch.device(device)
        self.memory_format = memory_format
        self.workers = workers
        self.edges = batch_edges(plan, batch_size, contiguous)
        self._begun = self._ends = 0

    def __len__(self) -> int:
        return len(self.edges) - 1

    def __iter__(self) -> Iterator[Batch]:
        return self.batches()

    def batches(self, position: int = 0) -> Iterator[Batch]:
        """Yield the batches that start at ``position`` of the stream or later."""
        first = int(np.searchsorted(self.edges[:-1], position))
        loader = image_loader(
            self.dataset,
            self.plan.domains,
            min(self.workers, max(1, len(self) - first)),
            self.device.type == "cuda",
        )
        with loader:
            loaded = loader(self._rows(slice(*bounds)) for bounds in self.bounds(first))
            for (start, stop), levels in zip(self.bounds(first), loaded, strict=True):
                images = to_unit_range(levels, self.device, self.memory_format)
                self._begun, self._ends = start, stop
                yield Batch(images, start, stop, bool(self.plan.reset_before[start]))

    def begun(self) -> int:
        """Return the position at which the batch that was yielded last begins."""
        return self._begun

    def decoded(self) -> list[Tensor]:
        """Return the images of that batch before they are resized: uint8 ``[3, H, W]`` each."""
        names, columns = self.plan.domains, self._rows(slice(self._begun, self._ends))
        images = [
            self.dataset.original(names[number], *place)
            for number, *place in zip(*columns[:3], strict=True)
        ]
        return images if self.plan.shift is None else _moved(images, columns[3])

    def bounds(self, first: int = 0) -> Iterator[tuple[int, int]]:
        """Yield (start, stop) of the batches from number ``first`` on."""
        for number in range(first, len(self)):
            yield int(self.edges[number]), int(self.edges[number + 1])

    @property
    def longest(self) -> int:
        """Images of the longest batch."""
        return int(np.diff(self.edges).max())

    @property
    def longest_part(self) -> int:
        """Images of the longest part without a reset."""
        resets = np.flatnonzero(self.plan.reset_before)
        return int(np.diff(np.unique([0, *resets, len(self.plan)])).max())

    def warm_up(self) -> None:
        """Make an image of every kind, and with it what a process needs once to make them.

        Frost's textures, say: time and memory of the first run in a process would else hold them,
        and each worker process its own.
        """
        positions = np.arange(len(self.plan))
        for _, _, rows in by_place(self.plan.domain, self.plan.severity):
            self._gather(positions[rows][:1])

    def images(self, rows: np.ndarray) -> Tensor:
        """Return the images at some positions, as batches hold them."""
        return to_unit_range(self._gather(rows), self.device, self.memory_format)

    def _gather(self, rows: np.ndarray) -> Tensor:
        return self.dataset.gather(self.plan.domains, *self._rows(rows))

    def _rows(self, positions: slice | np.ndarray) -> Rows:
        plan = self.plan
        rows = plan.domain[positions], plan.severity[positions], plan.index[positions]
        return rows if plan.shift is None else (*rows, plan.shift[positions])

    def labels(self) -> np.ndarray:
        """Return the labels ``[N]`` in stream order, for the recorder alone."""
        return labels_of(self.dataset, self.plan)

    def label_maps(self, positions: slice | np.ndarray) -> Tensor:
        """Return the label maps ``[B, H, W]`` (uint8, in host memory), for the recorder alone."""
        return self.dataset.gather_maps(self.plan.domains, *self._rows(positions))

    def encoded_bytes(self, positions: np.ndarray) -> np.ndarray:
        """Return the size in bytes ``[n]``, as files, of the images at these stream positions."""
        plan = self.plan
        sizes = np.zeros(len(positions), np.int64)
        for number, level, rows in by_place(plan.domain[positions], plan.severity[positions]):
            index = plan.index[positions[rows]]
            sizes[rows] = self.dataset.encoded_bytes(plan.domains[number], level, index)
        return sizes


def _moved(images: list[Tensor], shift: np.ndarray) -> list[Tensor]:
    """Return images ``[3, H, W]`` of any sizes, moved as a plan's ``shift`` says."""
    steps = torch.from_numpy(shift)
    return [moved(one[None], *step[:, None])[0] for one, step in zip(images, steps, strict=True)]


def labels_of(dataset: Dataset, plan: StreamPlan) -> np.ndarray:
    """Return the labels ``[N]`` of a plan's samples."""
    labels = np.empty(len(plan), np.int64)
    for number, level, rows in by_place(plan.domain, plan.severity):
        known = dataset.labels(plan.domains[number], level)
        labels[rows] = known[plan.index[rows]]
    return labels


def batch_edges(plan: StreamPlan, batch_size: int, contiguous: bool) -> np.ndarray:
    """Return where batches start ``[n + 1]``, each up to the next; the last edge ends the stream.

    An array: at batch size 1 a stream may have millions.
    """
    if contiguous:
        breaks = np.flatnonzero(plan.reset_before)
    else:
        breaks = np.flatnonzero(np.diff(plan.segment)) + 1
    edges = np.unique(np.concatenate([[0], breaks, [len(plan)]]))
    counts = -(-np.diff(edges) // batch_size)
    number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.append(np.repeat(edges[:-1], counts) + batch_size * number, len(plan))
