"""Classes that the user's own data has by name, numbered once the model is known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from tta.datasets.base import Dataset
from tta.tasks.classes.matching import DataClasses


class NamedClasses(Dataset):
    """Data whose classes have names.

    Until :meth:`number_classes` is called, labels count the names as the data has them.

    Attributes:
        classes: names in label order.
        empty_classes: those without an image.
    """

    classes: tuple[str, ...]
    empty_classes: frozenset[str] = frozenset()

    def data_classes(self) -> DataClasses:
        """Return the classes, to be matched to a model's outputs."""
        return DataClasses(self.classes, self.empty_classes)

    def number_classes(self, names: Sequence[str], outputs: Sequence[int] | None) -> None:
        """Let labels count ``names``, which are ``outputs`` of the source model, None for all.

        Every class with an image must be among them.
        """
        self.classes = tuple(names)
        self.num_classes = len(self.classes)
        self.class_subset = None if outputs is None else tuple(outputs)

    def numbers_of(self, files: Iterable[str]) -> np.ndarray:
        """Return the labels (int64) of images that lie in folders named by class."""
        number = {name: k for k, name in enumerate(self.classes)}
        return np.array([number[file.split("/")[-2]] for file in files], np.int64)

    def class_words(self) -> str:
        """Return what differs where labels are other outputs of the source model."""
        return f"{self.classes} {self.class_subset}"
