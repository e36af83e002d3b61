"""Data sets by name, and the user's own by path."""

from __future__ import annotations

from collections.abc import Callable

from tta.datasets.base import NATURAL, Dataset
from tta.errors import UserError, did_you_mean
from tta.registry import Registry

__all__ = ["DATASETS", "NATURAL", "Dataset", "open_dataset"]

DATASETS: Registry[Callable[[str], Dataset]] = Registry(
    "dataset",
    {
        "arrays": "tta.datasets.arrays:ArrayDataset",
        "digits": "tta.datasets.digits:SourceDigits",
        "digits-c": "tta.datasets.digits:CorruptedDigits",
        "folder": "tta.datasets.folder:FolderDataset",
    },
    entry_point_group="tta.datasets",
)


def open_dataset(specification: str) -> Dataset:
    """Return the data set that ``NAME`` or ``KIND:PATH`` stands for.

    Raises:
        UserError: an unknown name, a path where none belongs or none where one belongs, or
            data that cannot be read.
    """
    name, _, path = specification.partition(":")
    if name not in DATASETS:
        raise UserError(f"unknown dataset {name!r}; {did_you_mean(name, DATASETS)}")
    if bool(path) != (name in ("arrays", "folder")):
        form = f"{name} takes no path" if path else f"write {name}:PATH"
        raise UserError(f"cannot open dataset {specification!r}; {form}")
    return DATASETS[name](path)
