"""Images and label maps under corruptions that are made on the fly."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from tta.corruptions.oblong import corrupt_labels, corrupt_oblong
from tta.datasets.generated import CorruptedOnTheFly


class CorruptedMaps(CorruptedOnTheFly):
    """Stands in front of a data set of clean images and label maps, which move with these."""

    def images(self, domain: str, severity: int, indices: np.ndarray) -> Tensor:
        clean = super().images(domain, severity, indices)
        return self.corrupted(clean, domain, severity, indices)

    def corrupted(self, clean: Tensor, domain: str, severity: float, ids: np.ndarray) -> Tensor:
        """Return uint8 images ``[B, 3, H, W]`` of corruption ``domain``; ``ids`` seed the draws."""
        textures = self.frost_textures
        return corrupt_oblong(clean, domain, severity, ids, frost_textures=textures)

    def label_maps(self, domain: str, severity: int, indices: np.ndarray) -> Tensor:
        labels = super().label_maps(domain, severity, indices)
        return corrupt_labels(labels, domain, severity, indices)
