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
        "digits-r": "tta.datasets.rotated_digits:RotatedDigits",
        "digits-r-source": "tta.datasets.rotated_digits:RotatedSourceDigits",
        "folder": "tta.datasets.folder:FolderDataset",
    },
    entry_point_group="tta.datasets",
)


LEAVE_ONE_OUT = ("digits-r", "digits-r-source")
"""Data sets that take the domain to hold out of training where others take a path."""


def open_dataset(specification: str) -> Dataset:
    """Return the data set that ``NAME``, ``KIND:PATH`` or ``NAME:HELD_OUT`` stands for.

    Raises:
        UserError: an unknown name, a path where none belongs or none where one belongs, or
            data that cannot be read.
    """
    name, _, path = specification.partition(":")
    if name not in DATASETS:
        raise UserError(f"unknown dataset {name!r}; {did_you_mean(name, DATASETS)}")
    if bool(path) != (name in ("arrays", "folder")) and name not in LEAVE_ONE_OUT:
        form = f"{name} takes no path" if path else f"write {name}:PATH"
        raise UserError(f"cannot open dataset {specification!r}; {form}")
    return DATASETS[name](path)
