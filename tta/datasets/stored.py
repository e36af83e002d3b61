"""Published data sets, which lie below one folder: ``--data-dir`` or ``$TTA_DATA_DIR``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from tta.datasets.base import Dataset
from tta.datasets.facts import DatasetFacts
from tta.datasets.paths import data_folder
from tta.foundation.errors import UserError


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

    def _count_faults(self, domain: str, severity: int, size: int) -> Iterator[UserError]:
        expected = self.facts.images_of(domain)
        if size != expected:
            found = self._found(domain, severity, size)
            yield self.fault(f"{found} where {self.facts.title} has {expected}")

    def _found(self, domain: str, severity: int, size: int) -> str:
        """Return in words where ``size`` images of a domain are, other than were published."""
        return f"{str(self.data_dir)!r} holds {size} images of {domain!r}"

    @property
    def cure(self) -> str:
        """How to mend whatever is missing or damaged."""
        return f"get it with `python -m tta.get {self.facts.get} --data-dir {self.data_dir}`"
