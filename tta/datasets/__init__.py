"""Data sets by name, and the user's own by path."""

from __future__ import annotations

from pathlib import Path

from tta.datasets.base import NATURAL, Dataset
from tta.errors import UserError, did_you_mean
from tta.registry import Registry

__all__ = ["DATASETS", "NATURAL", "Dataset", "leaves_one_out", "open_dataset"]

DATASETS: Registry[type[Dataset]] = Registry(
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


def open_dataset(specification: str, data_dir: str | Path | None = None) -> Dataset:
    """Return the data set that ``NAME``, ``KIND:PATH`` or ``NAME:CHOICE`` stands for.

    Args:
        specification: of the data set.
        data_dir: folder of the published data sets; None for ``$TTA_DATA_DIR``.

    Raises:
        UserError: an unknown name, a path where none belongs or none where one belongs, or
            data that cannot be read.
    """
    name, _, argument = specification.partition(":")
    if name not in DATASETS:
        raise UserError(f"unknown dataset {name!r}; {did_you_mean(name, DATASETS)}")
    dataset = DATASETS[name]
    if argument and dataset.argument == "none":
        raise UserError(f"cannot open dataset {specification!r}; {name} takes no path")
    if not argument and dataset.argument == "path":
        raise UserError(f"cannot open dataset {specification!r}; write {name}:PATH")
    return dataset.open(argument, data_dir)


def leaves_one_out(specification: str) -> bool:
    """Return whether ``:DOMAIN`` may follow, the domain to hold out of training."""
    return specification in DATASETS and DATASETS[specification].argument == "held_out"
