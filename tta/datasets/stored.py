"""Published data sets, which lie below one folder: ``--data-dir`` or ``$TTA_DATA_DIR``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

from tta.datasets.base import Dataset
from tta.datasets.facts import DatasetFacts
from tta.datasets.paths import existing_folder
from tta.errors import UserError


def data_folder(data_dir: str | Path | None) -> Path:
    """Return the folder of published data sets: ``data_dir``, by default ``$TTA_DATA_DIR``.

    Raises:
        UserError: neither is given, or there is no such folder.
    """
    folder = optional_data_folder(data_dir)
    if folder is None:
        raise UserError(
            "published data sets are read from a folder; pass --data-dir DIR or set TTA_DATA_DIR"
        )
    return folder


def optional_data_folder(data_dir: str | Path | None) -> Path | None:
    """Return the same folder, or None where none is given.

    Raises:
        UserError: there is no such folder.
    """
    folder = data_dir or os.environ.get("TTA_DATA_DIR")
    if not folder:
        return None
    return existing_folder(
        folder, "pass the folder of the data sets as --data-dir, or set TTA_DATA_DIR"
    )


class StoredDataset(Dataset):
    """A published data set.

    Args:
        argument: what follows ``NAME:`` in a specification, or "".
        data_dir: folder below which it lies.

    Attributes:
        facts: what is known of it.
        published: of image files, see :class:`~tta.datasets.image_files.ImageFileDataset`.
    """

    facts: ClassVar[DatasetFacts]
    published = True

    def __init__(self, argument: str, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.num_classes = self.facts.classes

    @classmethod
    def open(cls, argument: str, data_dir: str | Path | None) -> StoredDataset:
        return cls(argument, data_folder(data_dir))

    def fault(self, problem: str) -> UserError:
        """Return an error that names the cure beside the problem."""
        return UserError(f"{problem}; {self.cure}")

    @property
    def cure(self) -> str:
        """How to mend whatever is missing or damaged."""
        return (
            f"get it with `python data_scripts/get.py {self.facts.get} --data-dir {self.data_dir}`"
        )
