"""What data sets share whose corruptions are made on the fly."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from tta.corruptions import corrupt, frost_source
from tta.datasets.base import Dataset
from tta.datasets.frost import find_frost
from tta.datasets.image_files import ImageFileDataset
from tta.datasets.stored import StoredDataset
from tta.foundation.errors import UserError

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
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"{str(file)!r} is damaged ({error}); generate the files again, or remove the folder"
        ) from error


def name_of(published: str, marker: dict[str, Any]) -> str:
    """Return the name of files in an official layout, another one for generated files."""
    return f"{published},generated,frost={marker['frost']}" if marker else published


class CorruptedOnTheFly(Dataset):
    """Images corrupted by this package's code.

    Frost is cut from the official textures where they lie below the data folder. The name says
    which were used, as the images differ: ``cifar10-c@gen,frost=official`` or ``...=procedural``.

    Attributes:
        frost_textures: folder of the official frost textures, or None.
    """

    costly = True
    makes_corruptions = True
    frost_textures: Path | None = None

    def choose_frost(self, name: str, data_dir: Path | None) -> None:
        """Look for the official textures; ``name`` is that of the data set without them."""
        self.frost_textures = find_frost(data_dir) if data_dir else None
        frost = frost_source(self.frost_textures)
        self.name = f"{name},frost={frost}"
        self.provenance = {"frost": frost}

    def corrupted(self, clean: Tensor, domain: str, severity: float, ids: np.ndarray) -> Tensor:
        """Return uint8 images ``[B, 3, H, H]`` of corruption ``domain``; ``ids`` seed the draws."""
        return corrupt(clean, domain, severity, ids=ids, frost_textures=self.frost_textures)


class CorruptedImageFiles(CorruptedOnTheFly, ImageFileDataset):
    """Every domain is made of the same image files."""

    def faults(
        self, domains: tuple[str, ...], severities: tuple[int, ...], probes: int | None = None
    ) -> Iterator[UserError]:
        yield from super().faults(domains[:1], severities[:1], probes)

    def places_in_use(self) -> Sequence[tuple[str, int]]:
        return [(self.domains[0], self.default_severity)]

    encoded_bytes = Dataset.encoded_bytes  # of what is made of the files, not of these


class GeneratedDataset(CorruptedOnTheFly, StoredDataset):
    """Corruptions of the images of a published data set."""

    def __init__(self, argument: str, data_dir: Path) -> None:
        super().__init__(argument, data_dir)
        self.choose_frost(type(self).name, data_dir)
