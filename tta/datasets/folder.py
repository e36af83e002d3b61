"""Images of one's own.

``folder:PATH`` is a stream of domains, ``<domain>/<class>/*.jpg``; ``folder@gen:PATH`` makes the
common corruptions of clean images, ``<class>/*.jpg``, on the fly. Every suffix of a still image
that Pillow reads may stand in place of ``.jpg``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from tta.corruptions import CORRUPTIONS
from tta.datasets.base import NATURAL
from tta.datasets.generated import CorruptedImageFiles
from tta.datasets.headers import Header, headers_of, sizes_of, survey
from tta.datasets.image_files import ImageFileDataset
from tta.datasets.layout import Layout
from tta.datasets.named_classes import NamedClasses
from tta.datasets.packed_names import PackedNames
from tta.datasets.paths import image_folder, optional_data_folder
from tta.datasets.scan import Place, Scan
from tta.foundation.geometry import Size


class OwnFolder(NamedClasses, ImageFileDataset):
    """What both kinds of folders share: classes are the folders, also those without images.

    Attributes:
        layout: of the folder.
        root: the folder.
        found: the images, and what was left out; not in processes that load images.
    """

    argument = "path"
    sizing = "own"
    layout: Layout
    root: Path
    found: Scan

    def _read(self, path: str) -> Path:
        """List the images; return the folder."""
        self.root = image_folder(path)
        self.found = self.layout.read(self.root)
        return self.root

    def __getstate__(self) -> dict[str, Any]:
        listed = ("found", "_places", "_headers", "_notes")
        return {name: value for name, value in vars(self).items() if name not in listed}

    def _take_classes(self) -> None:
        """Number the class folders in sorted order, until the model is known."""
        shown = {place[-1] for place in self._places if self.found.images[place]}
        folders = {place[-1] for place in self._places}
        self.empty_classes = frozenset(folders - shown)
        self.number_classes(sorted(folders), None)

    @cached_property
    def _places(self) -> list[Place]:
        """The class folders of domains that hold images."""
        filled = {place[:-1] for place, names in self.found.images.items() if names}
        return [place for place in self.found.images if place[:-1] in filled]

    def _files_of(self, places: Sequence[Place]) -> PackedNames:
        """Return the images of class folders, by their paths below the root."""
        return PackedNames(
            "/".join((*place, name)) for place in places for name in self.found.images[place]
        )

    def native_sizes(self, domain: str, severity: int) -> frozenset[Size]:
        return sizes_of(self._headers)

    @cached_property
    def _headers(self) -> Counter[Header]:
        files = map(self.root.joinpath, self._files_of(self._places))
        return headers_of(files, self.cure)

    def understood(self) -> dict[str, str]:
        return {**super().understood(), "files": "; ".join(self._notes)}

    @cached_property
    def _notes(self) -> list[str]:
        return list(self._take_notes())

    def _take_notes(self) -> Iterator[str]:
        unusual = survey(self._headers)
        yield f"{self.found.count} images" + (f", {unusual}" if unusual else "")
        empty = [place for place in self._places if not self.found.images[place]]
        if empty:
            yield f"empty class folders: {len(empty)} ({'/'.join(empty[0])!r})"
        if self.found.left_out:
            yield f"left out: {self.found.words()}"


class FolderDataset(OwnFolder):
    """Images of a folder tree; classes are the folders of all domains, also those without images.

    Args:
        path: folder of ``<domain>/<class>/*.jpg``.

    Raises:
        UserError: the folder is missing or holds no such images, or part of them would be missed.
    """

    layout = Layout("folder", 2)

    def __init__(self, path: str) -> None:
        root = self._read(path)
        self.name = f"folder:{root.name}"
        self.domains = tuple(dict.fromkeys(place[0] for place in self._places))
        self._files = {
            domain: self._files_of([place for place in self._places if place[0] == domain])
            for domain in self.domains
        }
        self._take_classes()

    def number_classes(self, names: Sequence[str], outputs: Sequence[int] | None) -> None:
        super().number_classes(names, outputs)
        self._labels = {domain: self.numbers_of(found) for domain, found in self._files.items()}

    def labels(self, domain: str, severity: int = NATURAL) -> np.ndarray:
        return self._labels[domain]

    def file(self, domain: str, severity: int, index: int) -> Path:
        return self.root / self._files[domain][index]

    @property
    def identity_name(self) -> str:
        # The same images elsewhere are the same data.
        return f"{self.layout.kind} {self.class_words()}"


class CorruptedFolder(OwnFolder, CorruptedImageFiles):
    """Corruptions of the images of a folder; classes are its folders, also those without images.

    Args:
        path: folder of ``<class>/*.jpg``, clean images.
        data_dir: where ``frost`` holds the official textures, or None.

    Raises:
        UserError: the folder is missing or holds no such images, or part of them would be missed.
    """

    layout = Layout("folder@gen", 1)
    square = True
    domains = CORRUPTIONS
    severities = (1, 2, 3, 4, 5)
    default_severity = 5

    def __init__(self, path: str, data_dir: Path | None = None) -> None:
        root = self._read(path)
        self.choose_frost(f"folder@gen:{root.name}", data_dir)
        self._files = self._files_of(self._places)
        self._take_classes()

    def number_classes(self, names: Sequence[str], outputs: Sequence[int] | None) -> None:
        super().number_classes(names, outputs)
        self._labels = self.numbers_of(self._files)

    @classmethod
    def open(cls, argument: str, data_dir: str | Path | None) -> CorruptedFolder:
        return cls(argument, optional_data_folder(data_dir))

    def labels(self, domain: str, severity: int) -> np.ndarray:
        return self._labels

    def file(self, domain: str, severity: int, index: int) -> Path:
        return self.root / self._files[index]

    def images(self, domain: str, severity: int, indices: np.ndarray) -> Tensor:
        return self.corrupted(super().images(domain, severity, indices), domain, severity, indices)

    @property
    def identity_name(self) -> str:
        return f"{self.layout.kind},frost={self.provenance['frost']} {self.class_words()}"
