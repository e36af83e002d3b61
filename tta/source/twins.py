"""Source images under corruptions, for networks that are trained to withstand one."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from tta.backbones.backbone import Backbone
from tta.corruptions import CORRUPTIONS
from tta.datasets.base import Dataset
from tta.datasets.benchmark import Benchmark
from tta.datasets.generated import CorruptedOnTheFly
from tta.datasets.subset import Subset
from tta.foundation.errors import UserError, did_you_mean
from tta.source.recipe import Recipe

CLEAN = "clean"
"""The domain of images as they are."""
SEVERITIES = (1, 2, 3, 4, 5)


class CorruptedSource(CorruptedOnTheFly):
    """The images of one domain of clean images, as they are and under each corruption.

    Images are numbered as in that domain, whatever the corruption; draws follow from the number.

    Args:
        dataset: the clean images; its first domain is used.
        severity: of all corruptions, 1 to 5.

    Raises:
        UserError: another severity.
    """

    def __init__(self, dataset: Dataset, severity: int = 5) -> None:
        check_severity(severity)
        self._clean, self._place = dataset, (dataset.domains[0], dataset.severities[0])
        self.name = f"{dataset.name},severity={severity}"
        self.domains = (CLEAN, *CORRUPTIONS)
        self.severities = (severity,)
        self.default_severity = severity
        self.num_classes = dataset.num_classes
        self.benchmark = Benchmark(batch_size=dataset.benchmark.batch_size)

    def labels(self, domain: str, severity: int) -> np.ndarray:
        return self._clean.labels(*self._place)

    def images(self, domain: str, severity: int, indices: np.ndarray) -> Tensor:
        images = self._clean.shown(*self._place, indices)
        return images if domain == CLEAN else self.corrupted(images, domain, severity, indices)

    def digest(self) -> str:
        return f"{self._clean.digest()},{self.name}"


def check_corruption(name: str) -> None:
    """Refuse what is no corruption.

    Raises:
        UserError: naming one that is near.
    """
    if name not in CORRUPTIONS:
        hint = did_you_mean(name, CORRUPTIONS)
        raise UserError(f"unknown corruption {name!r}; {hint}")


def check_severity(severity: int) -> None:
    """Refuse what is no severity.

    Raises:
        UserError: naming those that there are.
    """
    if severity not in SEVERITIES:
        known = ", ".join(map(str, SEVERITIES))
        raise UserError(f"--severity {severity}: severities of corruptions are {known}; choose one")


def train_twin(start: Backbone, training: Dataset, domain: str, recipe: Recipe) -> Backbone:
    """Return a network that was trained from another on one domain of source images.

    Twins see the same images in the same order, so that they differ by their corruption alone.

    Args:
        start: is copied.
        training: images with such a domain, see :class:`CorruptedSource`.
        domain: a corruption, or :data:`CLEAN`.
        recipe: of the training.
    """
    from tta.source.training import train  # torchvision, for which not everyone need wait

    twin = start.clone()
    train(twin, Subset(training, {domain: None}), recipe)
    return twin
