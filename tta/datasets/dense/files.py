"""Data sets whose images and label maps are files."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tta.datasets.dense.label_files import check_pair, check_values, read_label_map
from tta.datasets.image_files import ImageFileDataset
from tta.datasets.resizing import SQUASH
from tta.foundation.errors import UserError
from tta.foundation.geometry import Size


class DenseFiles(ImageFileDataset):
    """Images and label maps that are read when they are asked for.

    Label maps are brought to the size shown as their images are, by the nearest pixel, or kept
    in ``scored_size``.

    Attributes:
        label_table: see :func:`~tta.datasets.dense.label_files.read_label_map`.
        scored_size: (height, width) of label maps whatever size images are shown in, where
            published figures are of that; None for the size shown.
    """

    task = "segmentation"
    sizing = "fixed"
    resizing = SQUASH
    label_table: np.ndarray | None = None
    scored_size: Size | None = None

    @abstractmethod
    def pairs(self, domain: str) -> list[tuple[Path, Path]]:
        """Return the files of images and of their label maps, in order."""

    def labels(self, domain: str, severity: int) -> np.ndarray:
        return np.zeros(len(self.pairs(domain)), np.int64)

    def file(self, domain: str, severity: int, index: int) -> Path:
        return self.pairs(domain)[index][0]

    def label_maps(self, domain: str, severity: int, indices: np.ndarray) -> Tensor:
        size = self.scored_size or self.image_size
        return torch.stack([self._label_map(domain, int(index), size) for index in indices])

    def shown_maps(self, domain: str, severity: int, indices: np.ndarray) -> Tensor:
        return self.label_maps(domain, severity, indices)  # which are read in that size

    def _label_map(self, domain: str, index: int, size: Size | None) -> Tensor:
        image, file = self.pairs(domain)[index]
        check_pair(image, file, self.cure, self.published)
        labels = read_label_map(file, size, self.resizing, self.cure, self.label_table)
        check_values(labels, self.num_classes, self.ignore_label, file)
        return labels

    def faults(
        self, domains: tuple[str, ...], severities: tuple[int, ...], probes: int | None = None
    ) -> Iterator[UserError]:
        yield from super().faults(domains, severities, probes)
        for domain in domains:
            try:
                size = len(self.pairs(domain))
            except UserError:  # which the images' faults have named
                continue
            looked = range(size) if probes is None else self._probed(domain, 0, size, probes)
            yield from self._label_faults(domain, looked)

    def _label_faults(self, domain: str, indices: range | list[int]) -> Iterator[UserError]:
        for index in indices:
            try:
                self._label_map(domain, index, None)
            except UserError as error:
                yield error

    def _named_files(self) -> Iterator[tuple[str, Path]]:
        yield from super()._named_files()
        for domain in dict.fromkeys(domain for domain, *_ in self._labelled_places()):
            for _, file in self.pairs(domain):
                yield f"labels/{domain}/{file.parent.name}/{file.name}", file
