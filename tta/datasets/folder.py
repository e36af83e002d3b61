"""``folder:PATH``: a stream of one's own, as ``<domain>/<class>/*.jpg|png``."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from tta.datasets.base import NATURAL
from tta.datasets.image_files import ImageFileDataset
from tta.datasets.images import IMAGE_SUFFIXES
from tta.errors import UserError


class FolderDataset(ImageFileDataset):
    """Images of a folder tree; class numbers follow the sorted names over all domains.

    Args:
        path: folder of ``<domain>/<class>/*.jpg|png``.

    Raises:
        UserError: the folder is missing or holds no such images.
    """

    def __init__(self, path: str) -> None:
        root = Path(path)
        if not root.is_dir():
            raise UserError(f"no folder {path!r}; folder:PATH names a folder that exists")
        self.name = f"folder:{root.name}"
        files = {domain.name: _image_files(domain) for domain in _subfolders(root)}
        self._files = {domain: found for domain, found in files.items() if found}
        if not self._files:
            raise UserError(
                f"{path!r} holds no images; lay them out as <domain>/<class>/*.jpg or *.png"
            )
        self.domains = tuple(self._files)
        self.classes = sorted(
            {file.parent.name for found in self._files.values() for file in found}
        )
        self.num_classes = len(self.classes)
        number = {name: k for k, name in enumerate(self.classes)}
        self._labels = {
            domain: np.array([number[file.parent.name] for file in found], np.int64)
            for domain, found in self._files.items()
        }

    def labels(self, domain: str, severity: int = NATURAL) -> np.ndarray:
        return self._labels[domain]

    def file(self, domain: str, severity: int, index: int) -> Path:
        return self._files[domain][index]

    def digest(self) -> str:
        sha = hashlib.sha256()
        for domain, files in self._files.items():
            for file in files:
                identity = f"{domain}/{file.parent.name}/{file.name}:{file.stat().st_size}\n"
                sha.update(identity.encode())
        return sha.hexdigest()


def _subfolders(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir())


def _image_files(domain: Path) -> list[Path]:
    return [
        file
        for folder in _subfolders(domain)
        for file in sorted(folder.iterdir())
        if file.suffix.lower() in IMAGE_SUFFIXES
    ]
