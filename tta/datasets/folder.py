"""Images of one's own.

``folder:PATH`` is a stream of domains, ``<domain>/<class>/*.jpg|png``; ``folder@gen:PATH`` makes
the common corruptions of clean images, ``<class>/*.jpg|png``, on the fly.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from torch import Tensor

from tta.corruptions import CORRUPTIONS
from tta.datasets.base import NATURAL
from tta.datasets.generated import CorruptedImageFiles
from tta.datasets.image_files import ImageFileDataset
from tta.datasets.images import IMAGE_SUFFIXES
from tta.datasets.sizes import sizes_of
from tta.datasets.stored import optional_data_folder
from tta.errors import UserError
from tta.geometry import Size


class FolderDataset(ImageFileDataset):
    """Images of a folder tree; class numbers follow the sorted names over all domains.

    Args:
        path: folder of ``<domain>/<class>/*.jpg|png``.

    Raises:
        UserError: the folder is missing or holds no such images.
    """

    argument = "path"
    sizing = "own"

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
        self.classes = _classes(file for found in self._files.values() for file in found)
        self.num_classes = len(self.classes)
        self._labels = {
            domain: _numbered(found, self.classes) for domain, found in self._files.items()
        }

    def labels(self, domain: str, severity: int = NATURAL) -> np.ndarray:
        return self._labels[domain]

    def file(self, domain: str, severity: int, index: int) -> Path:
        return self._files[domain][index]

    def native_sizes(self, domain: str, severity: int) -> frozenset[Size]:
        return self._sizes

    @cached_property
    def _sizes(self) -> frozenset[Size]:
        return sizes_of(itertools.chain.from_iterable(self._files.values()), self.cure)

    def digest(self) -> str:
        sha = hashlib.sha256()
        for domain, files in self._files.items():
            for file in files:
                sha.update(f"{domain}/{_identity(file)}\n".encode())
        return sha.hexdigest()


class CorruptedFolder(CorruptedImageFiles):
    """Corruptions of the images of a folder; class numbers follow the sorted names.

    Args:
        path: folder of ``<class>/*.jpg|png``, clean images.
        data_dir: where ``frost`` holds the official textures, or None.

    Raises:
        UserError: the folder is missing or holds no such images.
    """

    argument = "path"
    sizing = "own"
    square = True
    domains = CORRUPTIONS
    severities = (1, 2, 3, 4, 5)
    default_severity = 5

    def __init__(self, path: str, data_dir: Path | None = None) -> None:
        root = _existing(path)
        self._files = _image_files(root)
        if not self._files:
            raise UserError(f"{path!r} holds no images; lay them out as <class>/*.jpg or *.png")
        self.choose_frost(f"folder@gen:{root.name}", data_dir)
        self.classes = _classes(self._files)
        self.num_classes = len(self.classes)
        self._labels = _numbered(self._files, self.classes)

    @classmethod
    def open(cls, argument: str, data_dir: str | Path | None) -> CorruptedFolder:
        return cls(argument, optional_data_folder(data_dir))

    def labels(self, domain: str, severity: int) -> np.ndarray:
        return self._labels

    def file(self, domain: str, severity: int, index: int) -> Path:
        return self._files[index]

    def images(self, domain: str, severity: int, indices: np.ndarray) -> Tensor:
        return self.corrupted(super().images(domain, severity, indices), domain, severity, indices)

    def native_sizes(self, domain: str, severity: int) -> frozenset[Size]:
        return self._sizes

    @cached_property
    def _sizes(self) -> frozenset[Size]:
        return sizes_of(self._files, self.cure)

    def digest(self) -> str:
        lines = [self.name, *map(_identity, self._files)]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _existing(path: str) -> Path:
    if not Path(path).is_dir():
        raise UserError(f"no folder {path!r}; name one that exists")
    return Path(path)


def _classes(files: Iterable[Path]) -> list[str]:
    return sorted({file.parent.name for file in files})


def _numbered(files: Sequence[Path], classes: Sequence[str]) -> np.ndarray:
    number = {name: k for k, name in enumerate(classes)}
    return np.array([number[file.parent.name] for file in files], np.int64)


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
