"""Published data sets that are folders of one folder per class."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from tta.datasets.image_files import ImageFileDataset
from tta.datasets.packed_names import PackedNames
from tta.datasets.scan import entries, is_hidden, is_image_name, scan
from tta.datasets.stored import StoredDataset


class ClassFolders(StoredDataset, ImageFileDataset):
    """Domains that are folders with one folder per class, read in sorted order.

    Attributes:
        classes: names of the class folders, in label order.
    """

    classes: tuple[str, ...]

    def __init__(self, argument: str, data_dir: Path) -> None:
        super().__init__(argument, data_dir)
        self._listings: dict[Path, tuple[PackedNames, np.ndarray]] = {}

    def folder(self, domain: str, severity: int) -> Path:
        """Return the folder of a domain."""
        raise NotImplementedError

    def labels(self, domain: str, severity: int) -> np.ndarray:
        return self._listing(domain, severity)[1]

    def file(self, domain: str, severity: int, index: int) -> Path:
        return self.folder(domain, severity) / self._listing(domain, severity)[0][index]

    def _found(self, domain: str, severity: int, size: int) -> str:
        folder = self.folder(domain, severity)
        left_out = scan(folder, 1).words()
        return f"{str(folder)!r} holds {size} images" + (
            f" (left out: {left_out})" if left_out else ""
        )

    def _listing(self, domain: str, severity: int) -> tuple[PackedNames, np.ndarray]:
        folder = self.folder(domain, severity)
        if folder not in self._listings:
            self._listings[folder] = self._list(folder)
        return self._listings[folder]

    def _list(self, folder: Path) -> tuple[PackedNames, np.ndarray]:
        present = self.subfolders(folder)
        unknown = sorted(set(present) - set(self.classes))
        if unknown:
            raise self.fault(
                f"{str(folder / unknown[0])!r} is none of the {len(self.classes)} class folders "
                f"of {self.facts.title}"
            )
        names: list[str] = []
        counts = np.zeros(len(self.classes), np.int64)
        for label, name in enumerate(self.classes):
            if name in present:
                files = self.image_names(folder / name)
                counts[label] = len(files)
                names += [f"{name}/{file}" for file in files]
        return PackedNames(names), np.repeat(np.arange(len(self.classes)), counts)

    def subfolders(self, folder: Path) -> list[str]:
        """Return the names of the folders in a folder, sorted; hidden ones are passed over.

        Raises:
            UserError: there is no such folder, or it cannot be read.
        """
        return [entry.name for entry in self._entries(folder) if entry.is_dir()]

    def image_names(self, folder: Path) -> list[str]:
        """Return the names of the image files in a folder, sorted; hidden ones are passed over.

        Raises:
            UserError: there is no such folder, or it cannot be read.
        """
        return [entry.name for entry in self._entries(folder) if is_image_name(entry.name)]

    def _entries(self, folder: Path) -> list[os.DirEntry[str]]:
        try:
            return [entry for entry in entries(folder) if not is_hidden(entry.name)]
        except FileNotFoundError as error:
            raise self.fault(f"no folder {str(folder)!r}") from error
        except OSError as error:
            raise self.fault(f"folder {str(folder)!r} cannot be read ({error.strerror})") from error
