"""What data sets share whose corruptions are made on the fly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from tta.corruptions import corrupt, frost_source
from tta.datasets.frost import find_frost
from tta.datasets.stored import StoredDataset
from tta.errors import UserError

MARKER = "generated.json"
"""Beside files in an official layout that this package wrote: what they were made with."""


def read_marker(folder: Path) -> dict[str, Any]:
    """Return what the files of a folder were generated with; nothing for published ones.

    Raises:
        UserError: the folder's marker is damaged.
    """
    file = folder / MARKER
    if not file.is_file():
        return {}
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
        return {"generated": True, "frost": facts["frost"], "tta": facts["tta"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{str(file)!r} is damaged ({error}); generate the files again, or remove the folder"
        ) from error


def name_of(published: str, marker: dict[str, Any]) -> str:
    """Return the name of files in an official layout, another one for generated files."""
    return f"{published},generated,frost={marker['frost']}" if marker else published


class GeneratedDataset(StoredDataset):
    """Images corrupted by this package's code.

    Frost is cut from the official textures where they lie below the data folder. The name says
    which were used, as the images differ: ``cifar10-c@gen,frost=official`` or ``...=procedural``.

    Attributes:
        frost_textures: folder of the official frost textures, or None.
    """

    costly = True

    def __init__(self, argument: str, data_dir: Path) -> None:
        super().__init__(argument, data_dir)
        self.frost_textures = find_frost(data_dir)
        frost = frost_source(self.frost_textures)
        self.name = f"{type(self).name},frost={frost}"
        self.provenance = {"frost": frost}

    def corrupted(self, clean: Tensor, domain: str, severity: float, ids: np.ndarray) -> Tensor:
        """Return uint8 images ``[B, 3, H, H]`` of corruption ``domain``; ``ids`` seed the draws."""
        return corrupt(clean, domain, severity, ids=ids, frost_textures=self.frost_textures)
