"""Data sets by name, and the user's own by path.

What a data set is made of is imported when it is asked for, so that the commands start fast.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tta.datasets.benchmark import Benchmark, check_benchmark
from tta.foundation.errors import UserError
from tta.foundation.own_file import split_own
from tta.foundation.registry import Registry, lazy_attributes

if TYPE_CHECKING:
    from tta.datasets.base import NATURAL, Dataset

__all__ = [
    "DATASETS",
    "NATURAL",
    "Benchmark",
    "Dataset",
    "check_argument",
    "leaves_one_out",
    "open_dataset",
    "split_specification",
]

__getattr__ = lazy_attributes(__name__, dict.fromkeys(["Dataset", "NATURAL"], f"{__name__}.base"))


_WANTED = "subclass of tta.datasets.Dataset"


def _flaw(found: Any) -> str | None:
    from tta.datasets.base import Dataset

    if not (isinstance(found, type) and issubclass(found, Dataset)):
        return f"is no {_WANTED}"
    lacking = sorted(getattr(found, "__abstractmethods__", ()))
    return f"lacks {' and '.join(lacking)}; define it" if lacking else None


DATASETS: Registry[type[Dataset]] = Registry(
    "dataset",
    {
        "acdc": "tta.datasets.dense.streets:Acdc",
        "arrays": "tta.datasets.arrays:ArrayDataset",
        "caltech101": "tta.datasets.fine_grained:Caltech101",
        "camvid": "tta.datasets.dense.camvid:CamVid",
        "camvid-c@gen": "tta.datasets.dense.camvid:CamVidCorrupted",
        "camvid-source": "tta.datasets.dense.camvid:CamVidSource",
        "ccc": "tta.datasets.ccc:CccImageNet",
        "ccc-cifar10": "tta.datasets.ccc:CccCifar10",
        "ccc-cifar100": "tta.datasets.ccc:CccCifar100",
        "cifar10": "tta.datasets.cifar:SourceCifar10",
        "cifar10-c": "tta.datasets.cifar:Cifar10C",
        "cifar10-c@gen": "tta.datasets.cifar:Cifar10CGenerated",
        "cifar100": "tta.datasets.cifar:SourceCifar100",
        "cifar100-c": "tta.datasets.cifar:Cifar100C",
        "cifar100-c@gen": "tta.datasets.cifar:Cifar100CGenerated",
        "cityscapes": "tta.datasets.dense.streets:Cityscapes",
        "cityscapes-source": "tta.datasets.dense.streets:CityscapesSource",
        "digits": "tta.datasets.digits:SourceDigits",
        "digits-c": "tta.datasets.digits:CorruptedDigits",
        "digits-r": "tta.datasets.rotated_digits:RotatedDigits",
        "digits-r-source": "tta.datasets.rotated_digits:RotatedSourceDigits",
        "digits-seg": "tta.datasets.dense.digits_seg:CorruptedDigitsOnCanvas",
        "digits-seg-source": "tta.datasets.dense.digits_seg:SourceDigitsOnCanvas",
        "dtd": "tta.datasets.fine_grained:DescribableTextures",
        "eurosat": "tta.datasets.fine_grained:EuroSat",
        "fgvc_aircraft": "tta.datasets.fine_grained:FgvcAircraft",
        "flowers102": "tta.datasets.fine_grained:Flowers102",
        "folder": "tta.datasets.folder:FolderDataset",
        "folder-seg": "tta.datasets.dense.folder_seg:SegmentationFolder",
        "folder@gen": "tta.datasets.folder:CorruptedFolder",
        "food101": "tta.datasets.fine_grained:Food101",
        "gta5": "tta.datasets.dense.streets:Gta5",
        "imagenet": "tta.datasets.imagenet:ImageNetTrain",
        "imagenet-a": "tta.datasets.imagenet:ImageNetA",
        "imagenet-c": "tta.datasets.imagenet_c:ImageNetC",
        "imagenet-c-full": "tta.datasets.imagenet_c:ImageNetCFull",
        "imagenet-c-full@gen": "tta.datasets.imagenet_c:ImageNetCFullGenerated",
        "imagenet-c@gen": "tta.datasets.imagenet_c:ImageNetCGenerated",
        "imagenet-r": "tta.datasets.imagenet:ImageNetR",
        "imagenet-sketch": "tta.datasets.imagenet:ImageNetSketch",
        "imagenet-v2": "tta.datasets.imagenet:ImageNetV2",
        "imagenet-val": "tta.datasets.imagenet:ImageNetValidation",
        "letters": "tta.datasets.letters:Letters",
        "office-home": "tta.datasets.domain_folders:OfficeHome",
        "office-home-source": "tta.datasets.domain_folders:OfficeHomeSource",
        "oxford_pets": "tta.datasets.fine_grained:OxfordPets",
        "pacs": "tta.datasets.domain_folders:Pacs",
        "pacs-source": "tta.datasets.domain_folders:PacsSource",
        "stanford_cars": "tta.datasets.fine_grained:StanfordCars",
        "sun397": "tta.datasets.fine_grained:Sun397",
        "ucf101": "tta.datasets.fine_grained:Ucf101",
        "domainnet126": "tta.datasets.domainnet:DomainNet126",
        "domainnet126-source": "tta.datasets.domainnet:DomainNet126Source",
    },
    entry_point_group="tta.datasets",
    wanted=_WANTED,
    flaw=_flaw,
)


def split_specification(specification: str) -> tuple[str, str]:
    """Return the name, or ``path/to/file.py:Name``, of a data set, and what follows it."""
    if split_own(specification) is not None:
        return specification, ""
    name, _, argument = specification.partition(":")
    return name, argument


def open_dataset(specification: str, data_dir: str | Path | None = None) -> Dataset:
    """Return the data set that ``NAME``, ``KIND:PATH``, ``NAME:CHOICE`` or ``FILE.py:NAME`` means.

    Args:
        specification: of the data set.
        data_dir: folder of the published data sets; None for ``$TTA_DATA_DIR``.

    Raises:
        UserError: an unknown name, a path where none belongs or none where one belongs, data
            that cannot be read, or defaults that nothing reads.
    """
    name, argument = split_specification(specification)
    dataset = DATASETS.find(name)
    if split_own(name) is not None:
        from tta.datasets.own import open_own

        made = open_own(dataset, specification)
    else:
        check_argument(specification, dataset.argument)
        made = dataset.open(argument, data_dir)
    check_benchmark(made, f"dataset {specification!r}")
    return made


def check_argument(specification: str, kind: str) -> None:
    """Refuse a path where none belongs, or none where one belongs.

    Args:
        specification: of the data set.
        kind: what may follow its name, as in ``Dataset.argument``.

    Raises:
        UserError: see above.
    """
    name, argument = split_specification(specification)
    if argument and kind == "none":
        raise UserError(f"cannot open dataset {specification!r}; {name} takes no path")
    if not argument and kind == "path":
        raise UserError(f"cannot open dataset {specification!r}; write {name}:PATH")


def leaves_one_out(specification: str) -> bool:
    """Return whether ``:DOMAIN`` may follow, the domain to hold out of training."""
    return specification in DATASETS and DATASETS[specification].argument == "held_out"
