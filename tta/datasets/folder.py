"""Images of one's own.

``folder:PATH`` is a stream of domains, ``<domain>/<class>/*.jpg|png``; ``folder@gen:PATH`` makes
the common corruptions of clean images, ``<class>/*.jpg|png``, on the fly.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from tta.corruptions import CORRUPTIONS
from tta.datasets.base import NATURAL
from tta.datasets.generated import CorruptedImageFiles
from tta.datasets.image_files import ImageFileDataset
from tta.datasets.images import IMAGE_SUFFIXES
from tta.datasets.named_classes import NamedClasses
from tta.datasets.stored import optional_data_folder
from tta.errors import UserError


class FolderDataset(NamedClasses, ImageFileDataset):
    """Images of a folder tree; classes are the folders of all domains, also those without images.

    Args:
        path: folder of ``<domain>/<class>/*.jpg|png``.

    Raises:
        UserError: the folder is missing or holds no such images.
    """

    argument = "path"

    def __init__(self, path: str) -> None:
        root = _existing(path)
        self.name = f"folder:{root.name}"
        files = {domain.name: _image_files(domain) for domain in _subfolders(root)}
        self._files = {domain: found for domain, found in files.items() if found}
        if not self._files:
            raise UserError(
                f"{path!r} holds no images; lay them out as <domain>/<class>/*.jpg or *.png"
            )
        self.domains = tuple(self._files)
        self.take_folders(
            (root / domain for domain in self.domains),
            (file for found in self._files.values() for file in found),
        )

    def number_classes(self, names: Sequence[str], outputs: Sequence[int] | None) -> None:
        super().number_classes(names, outputs)
        self._labels = {domain: self.numbers_of(found) for domain, found in self._files.items()}

    def labels(self, domain: str, severity: int = NATURAL) -> np.ndarray:
        return self._labels[domain]

    def file(self, domain: str, severity: int, index: int) -> Path:
        return self._files[domain][index]

    def digest(self) -> str:
        sha = hashlib.sha256()
        for domain, files in self._files.items():
            for file in files:
                sha.update(f"{domain}/{_identity(file)}\n".encode())
            sha.update(self._labels[domain].tobytes())
        sha.update(self.class_digest())
        return sha.hexdigest()


class CorruptedFolder(NamedClasses, CorruptedImageFiles):
    """Corruptions of the images of a folder; classes are its folders, also those without images.

    Args:
        path: folder of ``<class>/*.jpg|png``, clean images.
        data_dir: where ``frost`` holds the official textures, or None.

    Raises:
        UserError: the folder is missing or holds no such images.
    """

    argument = "path"
    domains = CORRUPTIONS
    severities = (1, 2, 3, 4, 5)
    default_severity = 5

    def __init__(self, path: str, data_dir: Path | None = None) -> None:
        root = _existing(path)
        self._files = _image_files(root)
        if not self._files:
            raise UserError(f"{path!r} holds no images; lay them out as <class>/*.jpg or *.png")
        self.choose_frost(f"folder@gen:{root.name}", data_dir)
        self.take_folders([root], self._files)

    def number_classes(self, names: Sequence[str], outputs: Sequence[int] | None) -> None:
        super().number_classes(names, outputs)
        self._labels = self.numbers_of(self._files)

    @classmethod
    def open(cls, argument: str, data_dir: str | Path | None) -> CorruptedFolder:
        return cls(argument, optional_data_folder(data_dir))

    def labels(self, domain: str, severity: int) -> np.ndarray:
        return self._labels

    def file(self, domain: str, severity: int, index: int) -> Path:
        return self._files[index]

    def images(self, domain: str, severity: int, indices: np.ndarray) -> Tensor:
        return self.corrupted(super().images(domain, severity, indices), domain, severity, indices)

    def digest(self) -> str:
        lines = [self.name, *map(_identity, self._files)]
        sha = hashlib.sha256("\n".join(lines).encode())
        sha.update(self._labels.tobytes() + self.class_digest())
        return sha.hexdigest()


def _existing(path: str) -> Path:
    if not Path(path).is_dir():
        raise UserError(f"no folder {path!r}; name one that exists")
    return Path(path)


def _identity(file: Path) -> str:
    return f"{file.parent.name}/{file.name}:{file.stat().st_size}"


def _subfolders(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir())


def _image_files(domain: Path) -> list[Path]:
    return [
        file
        for folder in _subfolders(domain)
        for file in sorted(folder.iterdir())
        if file.suffix.lower() in IMAGE_SUFFIXES
    ]
