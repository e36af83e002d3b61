"""ImageNet's training images, and the natural shifts: ImageNet-R, -A, -V2 and -Sketch.

Labels count the 1,000 WordNet ids in sorted order; where only some occur, they count those, and
``class_subset`` tells their places among the 1,000. Images are resized to 256 (short side,
bilinear) and cropped to 224, or in that proportion to another input size of a backbone.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import ClassVar

from tta.datasets.benchmark import Benchmark
from tta.datasets.class_folders import ClassFolders
from tta.datasets.facts import DatasetFacts
from tta.datasets.resizing import IMAGENET
from tta.foundation.errors import UserError

ON_IMAGENET = Benchmark(
    backbone="resnet50.tv_in1k",
    cloud_backbone="resnet101.tv_in1k",
    source="imagenet",
    preset="imagenet-c",
)
_NATURAL = ON_IMAGENET.but(preset="imagenet-natural")


@cache
def imagenet_classes() -> tuple[str, ...]:
    """Return the 1,000 WordNet ids in label order, as timm has them."""
    from timm.data import ImageNetInfo  # here: lists import every data set without timm

    return tuple(ImageNetInfo("imagenet-1k").label_names())


class ImageNetFolders(ClassFolders):
    """Class folders of ImageNet classes, all in one folder.

    Attributes:
        root: of the class folders, below the data folder.
    """

    root: ClassVar[str]
    resizing = IMAGENET
    benchmark = ON_IMAGENET

    def __init__(self, argument: str, data_dir: Path) -> None:
        super().__init__(argument, data_dir)
        self.classes = self._class_folders()

    @property
    def class_names(self) -> tuple[str, ...]:
        """The wnids of the classes in label order."""
        return self.classes

    def folder(self, domain: str, severity: int) -> Path:
        return self.data_dir / self.root

    def _class_folders(self) -> tuple[str, ...]:
        return imagenet_classes()


class ImageNetSubset(ImageNetFolders):
    """Images of some of the classes: those that the data has folders of."""

    source_outputs = 1000

    def __init__(self, argument: str, data_dir: Path) -> None:
        super().__init__(argument, data_dir)
        self.class_subset = tuple(imagenet_classes().index(name) for name in self.classes)

    def _class_folders(self) -> tuple[str, ...]:
        folder = self.folder(self.domains[0], self.default_severity)
        found = self.subfolders(folder)
        unknown = sorted(set(found) - set(imagenet_classes()))
        if unknown:
            raise self.fault(f"{str(folder / unknown[0])!r} is the folder of no ImageNet class")
        if len(found) != self.num_classes:
            raise self.fault(
                f"{str(folder)!r} has {len(found)} class folders where {self.facts.title} has "
                f"{self.num_classes}"
            )
        return tuple(found)


class ImageNetTrain(ImageNetFolders):
    """``imagenet``: the training images, or with ``:NAME`` those of the classes of data set NAME.

    Below the data folder: ``imagenet/train/<wnid>/*.JPEG``.
    """

    argument = "choice"
    name = "imagenet"
    domains = ("train",)
    root = "imagenet/train"
    benchmark = ON_IMAGENET.but(source=None)
    facts = DatasetFacts(
        "ImageNet (train)",
        1000,
        1_281_167,
        "non-commercial research, on registration",
        "https://image-net.org/download.php",
        get="imagenet",
    )

    def __init__(self, argument: str, data_dir: Path) -> None:
        super().__init__(argument, data_dir)
        if argument:
            if argument not in SUBSETS:
                raise UserError(f"imagenet:NAME takes one of {', '.join(SUBSETS)}")
            subset = SUBSETS[argument]("", data_dir)
            self.classes, self.class_subset = subset.classes, subset.class_subset
            self.num_classes, self.source_outputs = subset.num_classes, subset.source_outputs
            self.name = f"imagenet:{argument}"

    def _count_faults(self, domain: str, severity: int, size: int) -> Iterator[UserError]:
        if self.class_subset is None:
            yield from super()._count_faults(domain, severity, size)

    def subfolders(self, folder: Path) -> list[str]:
        """Return the folders of the classes in use: other classes of ImageNet are passed over."""
        unused = set(imagenet_classes()) - set(self.classes)
        return [name for name in super().subfolders(folder) if name not in unused]


class ImageNetValidation(ImageNetFolders):
    """``imagenet-val``: the clean validation images, which other data sets are made of.

    Below the data folder: ``imagenet/val/<wnid>/*.JPEG``.
    """

    name = "imagenet-val"
    domains = ("val",)
    root = "imagenet/val"
    facts = DatasetFacts(
        "ImageNet (validation)",
        1000,
        50_000,
        "non-commercial research, on registration",
        "https://image-net.org/download.php",
        get="imagenet",
    )


class ImageNetR(ImageNetSubset):
    """``imagenet-r``: ImageNet-R (Hendrycks et al., ICCV 2021), renditions of 200 classes."""

    name = "imagenet-r"
    domains = ("renditions",)
    root = "imagenet-r"
    benchmark = ON_IMAGENET.but(source="imagenet:imagenet-r", preset="imagenet-r")
    facts = DatasetFacts(
        "ImageNet-R",
        200,
        30_000,
        "MIT (the collection); images: their owners'",
        "https://github.com/hendrycks/imagenet-r",
        get="imagenet-r",
    )


class ImageNetA(ImageNetSubset):
    """``imagenet-a``: ImageNet-A (Hendrycks et al., CVPR 2021), hard images of 200 classes."""

    name = "imagenet-a"
    domains = ("adversarial",)
    root = "imagenet-a"
    benchmark = _NATURAL.but(source="imagenet:imagenet-a")
    facts = DatasetFacts(
        "ImageNet-A",
        200,
        7_500,
        "MIT (the collection); images: their owners'",
        "https://github.com/hendrycks/natural-adv-examples",
        get="imagenet-a",
    )


class ImageNetV2(ImageNetFolders):
    """``imagenet-v2``: ImageNetV2, matched frequency (Recht et al., ICML 2019)."""

    name = "imagenet-v2"
    domains = ("matched_frequency",)
    root = "imagenetv2-matched-frequency-format-val"
    benchmark = _NATURAL
    facts = DatasetFacts(
        "ImageNetV2 (matched frequency)",
        1000,
        10_000,
        "MIT (the collection); images: their owners'",
        "https://github.com/modestyachts/ImageNetV2",
        get="imagenet-v2",
    )

    @property
    def class_names(self) -> tuple[str, ...]:
        """The wnids of the classes, whose folders are called otherwise."""
        return imagenet_classes()

    def _class_folders(self) -> tuple[str, ...]:
        # Folders are called by the label itself, so that their sorted names are out of order.
        return tuple(str(label) for label in range(self.num_classes))


class ImageNetSketch(ImageNetFolders):
    """``imagenet-sketch``: ImageNet-Sketch (Wang et al., NeurIPS 2019)."""

    name = "imagenet-sketch"
    domains = ("sketch",)
    root = "ImageNet-Sketch/sketch"
    benchmark = _NATURAL
    facts = DatasetFacts(
        "ImageNet-Sketch",
        1000,
        50_889,
        "MIT (the collection); images: their owners'",
        "https://github.com/HaohanWang/ImageNet-Sketch",
        get="imagenet-sketch",
    )


SUBSETS: dict[str, type[ImageNetSubset]] = {"imagenet-a": ImageNetA, "imagenet-r": ImageNetR}
"""Data sets that keep some of the classes."""
