"""Images and label maps of one's own, by domain.

``folder-seg:PATH`` holds ``images/<domain>/*`` of any still image that Pillow reads, and for each
``labels/<domain>/<the same name>.png``, whose pixels are numbers of classes; 255 counts nowhere. In
``classes.txt`` beside, a line names each class in the order of these numbers; without it, there are
as many as the greatest number in all label maps tells.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from tta.datasets.dense.files import DenseFiles
from tta.datasets.dense.label_files import check_pair, read_label_map
from tta.datasets.paths import image_folder
from tta.datasets.scan import scan
from tta.foundation.errors import UserError
from tta.foundation.geometry import Size
from tta.tasks.classes.lists import read_names

_MOST_CLASSES = 255


class SegmentationFolder(DenseFiles):
    """``folder-seg``: images and label maps of one's own.

    Args:
        path: the folder.

    Raises:
        UserError: it is missing or laid out otherwise, or an image has no label map, one of another
            size, or one with a number that is no class.
    """

    argument = "path"
    sizing = "own"

    def __init__(self, path: str) -> None:
        self.root = image_folder(path)
        images = self.root / "images"
        if not images.is_dir():
            raise UserError(
                f"{str(self.root)!r} has no folder 'images'; folder-seg: expects "
                "images/<domain>/*.jpg and labels/<domain>/*.png"
            )
        self.found = scan(images, 1)
        if not self.found.count:
            left = self.found.words()
            raise UserError(
                f"{str(images)!r} holds no images; lay them out as images/<domain>/*.jpg, or with "
                "another suffix that Pillow reads" + (f"; left out: {left}" if left else "")
            )
        self.name = f"folder-seg:{self.root.resolve().name}"
        self._pairs = {place[0]: list(self._paired(place[0])) for place in self._filled()}
        self.domains = tuple(self._pairs)
        self.class_names = self._names()
        self.num_classes = len(self.class_names) if self.class_names else self._counted()

    def pairs(self, domain: str) -> list[tuple[Path, Path]]:
        return self._pairs[domain]

    def native_sizes(self, domain: str, severity: int) -> frozenset[Size]:
        return self._sizes

    def understood(self) -> dict[str, str]:
        left = f"; left out: {self.found.words()}" if self.found.left_out else ""
        said = f"{self.found.count} images with label maps{left}"
        return {**super().understood(), "files": said}

    @property
    def identity_name(self) -> str:
        # The same images elsewhere are the same data.
        return f"folder-seg {self.num_classes} {self.class_names}"

    def _filled(self) -> list[tuple[str, ...]]:
        return [place for place, names in self.found.images.items() if names]

    def _paired(self, domain: str) -> Iterator[tuple[Path, Path]]:
        stems: dict[str, str] = {}
        for name in self.found.images[(domain,)]:
            stem = Path(name).stem
            if stem in stems:
                raise UserError(
                    f"images {stems[stem]!r} and {name!r} of domain {domain!r} have one label map, "
                    f"{stem}.png; rename one"
                )
            stems[stem] = name
            yield (
                self.root / "images" / domain / name,
                self.root / "labels" / domain / f"{stem}.png",
            )

    @cached_property
    def _sizes(self) -> frozenset[Size]:
        """The sizes of all images, each of which is looked at beside its label map."""
        return frozenset(
            check_pair(*pair, self.cure, self.published)
            for pairs in self._pairs.values()
            for pair in pairs
        )

    def _names(self) -> tuple[str, ...] | None:
        file = self.root / "classes.txt"
        if not file.is_file():
            return None
        names = read_names(str(file), str(file))
        if len(names) > _MOST_CLASSES:
            raise UserError(f"{str(file)!r} names {len(names)} classes, more than a byte counts")
        return names

    def _counted(self) -> int:
        """Return one more than the greatest number in all label maps that is not ignored."""
        greatest = -1
        for pairs in self._pairs.values():
            for _, file in pairs:
                labels = read_label_map(file, None, self.resizing, self.cure)
                counted = labels[labels != self.ignore_label]
                greatest = max(greatest, int(counted.max()) if counted.numel() else -1)
        if greatest < 0:
            raise UserError(f"label maps of {str(self.root)!r} hold {self.ignore_label} alone")
        return greatest + 1
