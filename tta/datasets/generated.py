"""What data sets share whose corruptions are made on the fly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

from tta.corruptions import corrupt, frost_source
from tta.datasets.frost import find_frost
from tta.datasets.stored import StoredDataset


class GeneratedDataset(StoredDataset):
    """Images corrupted by this package's code.

    Frost is cut from the official textures where they lie below the data folder. The name says
    which were used, as the images differ: ``cifar10-c@gen,frost=official`` or ``...=procedural``.

    Attributes:
        frost_textures: folder of the official frost textures, or None.
    """

    def __init__(self, argument: str, data_dir: Path) -> None:
        super().__init__(argument, data_dir)
        self.frost_textures = find_frost(data_dir)
        frost = frost_source(self.frost_textures)
        self.name = f"{type(self).name},frost={frost}"
        self.provenance = {"frost": frost}

    def corrupted(self, clean: Tensor, domain: str, severity: float, ids: np.ndarray) -> Tensor:
        """Return uint8 images ``[B, 3, H, H]`` of corruption ``domain``; ``ids`` seed the draws."""
        return corrupt(clean, domain, severity, ids=ids, frost_textures=self.frost_textures)
