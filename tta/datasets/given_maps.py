"""Images of the user's program whose labels are maps: a class for every pixel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import IterableDataset

from tta.datasets.given import GivenImages, ImageReader, Pairs, pair_of, read_through
from tta.foundation.errors import UserError


class GivenMaps(GivenImages):
    """Float images and label maps of the user's program, as one domain.

    Args:
        read: returns the images ``[B, C, H, W]`` of some indices.
        read_maps: likewise the label maps ``[B, H, W]``, uint8.
        count: of the images.
        num_classes: of the model that labels count the outputs of.
    """

    task = "segmentation"

    def __init__(
        self,
        read: Callable[[np.ndarray], Tensor],
        read_maps: Callable[[np.ndarray], Tensor],
        count: int,
        num_classes: int,
    ) -> None:
        super().__init__(read, np.zeros(count, np.int64), num_classes)
        self._read_maps = read_maps

    def label_maps(self, domain: str, severity: int, indices: np.ndarray) -> Tensor:
        return self._read_maps(indices)


def given_maps(pairs: Pairs, channels: int, num_classes: int) -> GivenMaps:
    """Return what the user gave as source images of a network that segments.

    Args:
        pairs: as :func:`tta.datasets.given.given_images` takes them, with maps ``[H, W]``, or
            ``[B, H, W]`` of a batch, in place of labels; pixels of 255 count nowhere.
        channels: of the images.
        num_classes: outputs of the model.

    Raises:
        UserError: it is something else, or an image or map is.
    """

    def maps_of(labels: Any) -> np.ndarray:
        return _checked(labels, num_classes)

    if isinstance(pairs, TorchDataset) and not isinstance(pairs, IterableDataset):

        def read_maps(indices: np.ndarray) -> Tensor:
            return _joined([maps_of(pair_of(pairs[int(index)])[1]) for index in indices])

        count = len(pairs)  # type: ignore[arg-type]
        return GivenMaps(ImageReader(pairs, channels), read_maps, count, num_classes)
    images, parts = read_through(pairs, channels, maps_of)
    maps = _joined(parts)
    return GivenMaps(
        lambda indices: images[torch.from_numpy(indices)],
        lambda indices: maps[torch.from_numpy(indices)],
        len(images),
        num_classes,
    )


def _checked(labels: Any, num_classes: int) -> np.ndarray:
    """Return maps ``[B, H, W]``, uint8."""
    values = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if values.dtype.kind not in "iu" or values.ndim not in (2, 3):
        raise UserError(
            "the model segments, and labels of its source images must be maps of class numbers "
            f"[B, H, W], but are {values.dtype} {list(values.shape)}"
        )
    wrong = values[(values != GivenMaps.ignore_label) & ((values < 0) | (values >= num_classes))]
    if wrong.size:
        raise UserError(
            f"a label map of the source images holds {wrong[0]}: number classes from 0 to "
            f"{num_classes - 1}, and pixels that do not count {GivenMaps.ignore_label}"
        )
    return values.reshape(-1, *values.shape[-2:]).astype(np.uint8)


def _joined(maps: list[np.ndarray]) -> Tensor:
    sizes = sorted({part.shape[1:] for part in maps})
    if len(sizes) > 1:
        shown = ", ".join("x".join(map(str, size)) for size in sizes[:3])
        raise UserError(f"label maps of source images differ in size ({shown}); resize them to one")
    return torch.from_numpy(np.concatenate(maps))
