"""Labelled images of the user's program: a ``torch.utils.data.Dataset``, or batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import IterableDataset, Subset

from tta.datasets.base import NATURAL, Dataset
from tta.datasets.checks import check_batch, check_range
from tta.foundation.errors import UserError

MOST_BYTES = 16 << 30
"""Of the images of an iterable, which are kept in memory."""
Pairs = Iterable[Any] | TorchDataset[Any]
"""A map-style Dataset of (image, label), or an iterable of (images, labels)."""


class GivenImages(Dataset):
    """Float images and labels of the user's program, as one domain.

    Args:
        read: returns the images ``[B, C, H, W]`` of some indices.
        labels: int64 ``[N]``.
        num_classes: of the model that labels count the outputs of.

    Raises:
        UserError: there are no labels, or one that is no output.
    """

    name = "given images"
    domains = ("given images",)
    severities = (NATURAL,)

    def __init__(
        self, read: Callable[[np.ndarray], Tensor], labels: np.ndarray, num_classes: int
    ) -> None:
        self._read = read
        self._labels = labels
        self.num_classes = num_classes
        if not len(labels):
            raise UserError("there are no source images: the data set or iterable is empty")
        if labels.min() < 0 or labels.max() >= num_classes:
            raise UserError(
                f"labels of source images go from {labels.min()} to {labels.max()}, and the model "
                f"has {num_classes} outputs: number them from 0 to {num_classes - 1}"
            )

    def labels(self, domain: str, severity: int) -> np.ndarray:
        return self._labels

    def images(self, domain: str, severity: int, indices: np.ndarray) -> Tensor:
        return self._read(indices)


def given_images(pairs: Pairs, channels: int, num_classes: int) -> GivenImages:
    """Return what the user gave as source images.

    A map-style Dataset is read when its images are asked for, and must give the same ones every
    time. Anything else is iterated over once and kept in memory.

    Args:
        pairs: a Dataset of (image ``[C, H, W]``, label), an iterable of (images ``[B, C, H, W]``,
            labels ``[B]``) such as a DataLoader, or one such pair of tensors; images are float32
            in [0, 1].
        channels: of the images.
        num_classes: outputs of the model.

    Raises:
        UserError: it is something else, or an image or label is.
    """
    if isinstance(pairs, TorchDataset) and not isinstance(pairs, IterableDataset):
        return GivenImages(ImageReader(pairs, channels), _all_labels(pairs), num_classes)
    images, parts = read_through(pairs, channels, _numbers)
    labels = np.concatenate(parts)
    return GivenImages(lambda indices: images[torch.from_numpy(indices)], labels, num_classes)


class ImageReader:
    """Reads images of a map-style Dataset by index."""

    def __init__(self, dataset: TorchDataset[Any], channels: int) -> None:
        self.dataset = dataset
        self.channels = channels

    def __call__(self, indices: np.ndarray) -> Tensor:
        images = [pair_of(self.dataset[int(index)])[0] for index in indices]
        for image in images:
            check_batch(image[None] if isinstance(image, Tensor) else image, self.channels)
        stacked = _joined([image[None] for image in images])
        check_range(stacked)
        return stacked.cpu()


def _all_labels(dataset: TorchDataset[Any]) -> np.ndarray:
    known = _known_labels(dataset)
    if known is not None and len(known) and known[0] == _numbers(pair_of(dataset[0])[1])[0]:
        return known
    count = len(dataset)  # type: ignore[arg-type]
    parts = [_numbers(pair_of(dataset[index])[1]) for index in range(count)]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _known_labels(dataset: TorchDataset[Any]) -> np.ndarray | None:
    """Return the labels that torchvision's data sets keep, so that no image need be read."""
    if isinstance(dataset, Subset):
        known = _known_labels(dataset.dataset)
        return None if known is None else known[np.asarray(dataset.indices, np.int64)]
    if getattr(dataset, "target_transform", None) is not None:
        return None
    targets = getattr(dataset, "targets", None)
    if not isinstance(targets, (list, tuple, np.ndarray, Tensor)):
        return None
    try:
        labels = np.asarray(targets)
    except ValueError:
        return None
    whole = labels.ndim == 1 and labels.dtype.kind in "iu"
    return labels.astype(np.int64) if whole and len(labels) == len(dataset) else None  # type: ignore[arg-type]


def read_through(
    pairs: Iterable[Any], channels: int, labels_of: Callable[[Any], np.ndarray]
) -> tuple[Tensor, list[np.ndarray]]:
    """Return all images ``[N, C, H, W]``, and the labels of each batch, of an iterable.

    Args:
        pairs: see :func:`given_images`.
        channels: likewise.
        labels_of: returns a batch's labels ``[B, ...]`` as an array, or refuses them.
    """
    images, labels, size = [], [], 0
    for given, numbers in map(pair_of, _batches(pairs)):
        batch = given[None] if isinstance(given, Tensor) and given.dim() == 3 else given
        check_batch(batch, channels)
        check_range(batch)
        images.append(batch.detach().cpu())
        labels.append(labels_of(numbers))
        size += batch.nbytes
        if len(labels[-1]) != len(batch):
            raise UserError(f"a batch of {len(batch)} images has {len(labels[-1])} labels")
        if size > MOST_BYTES:
            raise UserError(
                f"source images take more than {MOST_BYTES >> 30} GiB, and those of an iterable "
                "are kept in memory; pass the Dataset itself, which is read by index, or fewer"
            )
    if not images:
        raise UserError("there are no source images: the iterable is empty")
    return _joined(images), labels


def _batches(pairs: Any) -> Iterator[Any]:
    if isinstance(pairs, (tuple, list)) and len(pairs) == 2 and isinstance(pairs[0], Tensor):
        return iter([pairs])
    try:
        return iter(pairs)
    except TypeError:
        raise UserError(
            "source must be an iterable of (images, labels), a torch Dataset or the name of a "
            f"data set, but got a {type(pairs).__name__}"
        ) from None


def pair_of(item: Any) -> tuple[Any, Any]:
    """Return image and label, or images and labels, of what a source gives."""
    if not isinstance(item, (tuple, list)) or len(item) < 2:
        raise UserError(
            f"source gives a {type(item).__name__}, and (images, labels) are expected each time"
        )
    return item[0], item[1]


def _numbers(labels: Any) -> np.ndarray:
    values = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if values.dtype.kind not in "iu" or values.ndim > 1:
        raise UserError(
            f"labels of source images must be class numbers [B], but are {values.dtype} "
            f"{list(values.shape)}"
        )
    return np.atleast_1d(values).astype(np.int64)


def _joined(images: list[Tensor]) -> Tensor:
    sizes = sorted({tuple(image.shape[1:]) for image in images})
    if len(sizes) > 1:
        shown = ", ".join("x".join(map(str, size)) for size in sizes[:3])
        raise UserError(f"source images differ in size ({shown}); resize them to one")
    return torch.cat(images)
