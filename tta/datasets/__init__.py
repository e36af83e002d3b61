"""Data sets by name, and the user's own by path."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tta.datasets.base import NATURAL, Dataset
from tta.datasets.folder import CorruptedFolder
from tta.datasets.stored import StoredDataset, data_folder, optional_data_folder
from tta.errors import UserError, did_you_mean
from tta.registry import Registry

__all__ = ["DATASETS", "NATURAL", "Dataset", "open_dataset"]

DATASETS: Registry[Callable[..., Dataset]] = Registry(
    "dataset",
    {
        "arrays": "tta.datasets.arrays:ArrayDataset",
        "ccc": "tta.datasets.ccc:CccImageNet",
        "ccc-cifar10": "tta.datasets.ccc:CccCifar10",
        "ccc-cifar100": "tta.datasets.ccc:CccCifar100",
        "cifar10": "tta.datasets.cifar:SourceCifar10",
        "cifar10-c": "tta.datasets.cifar:Cifar10C",
        "cifar10-c@gen": "tta.datasets.cifar:Cifar10CGenerated",
        "cifar100": "tta.datasets.cifar:SourceCifar100",
        "cifar100-c": "tta.datasets.cifar:Cifar100C",
        "cifar100-c@gen": "tta.datasets.cifar:Cifar100CGenerated",
        "digits": "tta.datasets.digits:SourceDigits",
        "digits-c": "tta.datasets.digits:CorruptedDigits",
        "digits-r": "tta.datasets.rotated_digits:RotatedDigits",
        "digits-r-source": "tta.datasets.rotated_digits:RotatedSourceDigits",
        "folder": "tta.datasets.folder:FolderDataset",
        "folder@gen": "tta.datasets.folder:CorruptedFolder",
        "imagenet": "tta.datasets.imagenet:ImageNetTrain",
        "imagenet-a": "tta.datasets.imagenet:ImageNetA",
        "imagenet-c": "tta.datasets.imagenet_c:ImageNetC",
        "imagenet-c-full": "tta.datasets.imagenet_c:ImageNetCFull",
        "imagenet-c-full@gen": "tta.datasets.imagenet_c:ImageNetCFullGenerated",
        "imagenet-c@gen": "tta.datasets.imagenet_c:ImageNetCGenerated",
        "imagenet-r": "tta.datasets.imagenet:ImageNetR",
        "imagenet-sketch": "tta.datasets.imagenet:ImageNetSketch",
        "imagenet-v2": "tta.datasets.imagenet:ImageNetV2",
        "office-home": "tta.datasets.domain_folders:OfficeHome",
        "office-home-source": "tta.datasets.domain_folders:OfficeHomeSource",
        "pacs": "tta.datasets.domain_folders:Pacs",
        "pacs-source": "tta.datasets.domain_folders:PacsSource",
        "domainnet126": "tta.datasets.domainnet:DomainNet126",
        "domainnet126-source": "tta.datasets.domainnet:DomainNet126Source",
    },
    entry_point_group="tta.datasets",
)


OWN = ("arrays", "folder", "folder@gen")
"""Data sets that need the path of the user's files."""
LEAVE_ONE_OUT = (
    "digits-r",
    "digits-r-source",
    "office-home",
    "office-home-source",
    "pacs",
    "pacs-source",
)
"""Data sets that take the domain to hold out of training where others take a path."""
CHOICE = (
    "ccc",
    "ccc-cifar10",
    "ccc-cifar100",
    "domainnet126",
    "domainnet126-source",
    "imagenet",
)
"""Data sets that take a choice of their own there: options, a source domain, or whose classes."""


def open_dataset(specification: str, data_dir: str | Path | None = None) -> Dataset:
    """Return the data set that ``NAME``, ``KIND:PATH`` or ``NAME:CHOICE`` stands for.

    Args:
        specification: of the data set.
        data_dir: folder of the published data sets; None for ``$TTA_DATA_DIR``.

    Raises:
        UserError: an unknown name, a path where none belongs or none where one belongs, or
            data that cannot be read.
    """
    name, _, path = specification.partition(":")
    if name not in DATASETS:
        raise UserError(f"unknown dataset {name!r}; {did_you_mean(name, DATASETS)}")
    if bool(path) != (name in OWN) and name not in LEAVE_ONE_OUT + CHOICE:
        form = f"{name} takes no path" if path else f"write {name}:PATH"
        raise UserError(f"cannot open dataset {specification!r}; {form}")
    dataset = DATASETS[name]
    if isinstance(dataset, type) and issubclass(dataset, StoredDataset):
        return dataset(path, data_folder(data_dir))
    if isinstance(dataset, type) and issubclass(dataset, CorruptedFolder):
        return dataset(path, optional_data_folder(data_dir))
    return dataset(path)
