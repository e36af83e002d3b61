"""ImageNet-C (Hendrycks and Dietterich, ICLR 2019): published, and generated.

Below the data folder:

    ImageNet-C/<corruption>/<severity>/<wnid>/*.JPEG   224x224, as published
    ImageNet-C/imagenet_test_image_ids.txt             RobustBench's 5,000 images: <wnid>/<file>
    imagenet/val/<wnid>/*.JPEG                         what the generated sets are made of

``imagenet-c`` and ``imagenet-c@gen`` are the 5,000 images of RobustBench's list, which the papers
report on, in its order; the ``-full`` ones are all 50,000.
"""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path

import numpy as np
from torch import Tensor

from tta.corruptions import CORRUPTIONS
from tta.datasets.class_folders import ClassFolders
from tta.datasets.facts import DatasetFacts
from tta.datasets.generated import CorruptedImageFiles, GeneratedDataset, name_of, read_marker
from tta.datasets.imagenet import ON_IMAGENET, imagenet_classes
from tta.datasets.packed_names import PackedNames
from tta.datasets.resizing import IMAGENET, Resizing, resized_or_fitted
from tta.foundation.errors import UserError
from tta.foundation.geometry import Size

LIST = "imagenet_test_image_ids.txt"
LISTED = 5_000
SIDE = 224
_LINE = re.compile(r"(n\d{8})/ILSVRC2012_val_\d{8}\.JPEG")


class _ImageNetC(ClassFolders):
    """All 50,000 images; what the four data sets share."""

    domains = CORRUPTIONS
    severities = (1, 2, 3, 4, 5)
    default_severity = 5
    benchmark = ON_IMAGENET
    resizing = Resizing()  # the images are 224x224 and stay so for backbones of that size

    def __init__(self, argument: str, data_dir: Path) -> None:
        super().__init__(argument, data_dir)
        self.classes = self.class_names = imagenet_classes()

    def folder(self, domain: str, severity: int) -> Path:
        return self.data_dir / "ImageNet-C" / domain / str(severity)


class _Listed(_ImageNetC):
    """The images of RobustBench's list."""

    named_by_list = True

    def _list(self, folder: Path) -> tuple[PackedNames, np.ndarray]:
        self.subfolders(folder)
        return self._names_and_labels

    @cached_property
    def _names_and_labels(self) -> tuple[PackedNames, np.ndarray]:
        file, expected = self.data_dir / "ImageNet-C" / LIST, self.facts.images
        try:
            names = file.read_text(encoding="utf-8").split()
        except FileNotFoundError as error:
            raise UserError(
                f"no list {str(file)!r} of the {expected} images, lines <wnid>/<file>; get it with "
                f"`python -m tta.get imagenet-c-list --data-dir {self.data_dir}`"
            ) from error
        except (OSError, UnicodeDecodeError) as error:
            raise self.fault(f"list {str(file)!r} cannot be read ({error})") from error
        label = {name: number for number, name in enumerate(self.classes)}
        for name in names:
            match = _LINE.fullmatch(name)
            if match is None or match[1] not in label:
                raise self.fault(
                    f"list {str(file)!r} has a line {name!r} where <wnid>/ILSVRC2012_val_<number>"
                    ".JPEG is expected"
                )
        if len(set(names)) != expected or len(names) != expected:
            raise self.fault(
                f"list {str(file)!r} names {len(set(names))} images on {len(names)} lines where "
                f"{expected} are expected"
            )
        return PackedNames(names), np.array([label[name.split("/")[0]] for name in names], np.int64)


class _Generated(GeneratedDataset, CorruptedImageFiles):
    """Corruptions made on the fly by this package's code from validation images.

    As for the published set, images are resized to 256 (short side, bilinear) and cropped to 224
    first. Unlike there, the result is not stored as a JPEG of quality 85, and the random numbers
    are others; an image's number in ImageNet seeds them.
    """

    def folder(self, domain: str, severity: int) -> Path:
        return self.data_dir / "imagenet" / "val"

    def images(self, domain: str, severity: int, indices: np.ndarray) -> Tensor:
        files = [self.file(domain, severity, int(index)) for index in indices]
        clean = self.decoded(domain, severity, indices, (SIDE, SIDE), IMAGENET)
        ids = [int(re.sub(r"\D", "", file.stem.split("_")[-1])) for file in files]
        corrupted = self.corrupted(clean, domain, severity, np.array(ids))
        return self.fitted(corrupted)

    def native_sizes(self, domain: str, severity: int) -> frozenset[Size]:
        return frozenset({(SIDE, SIDE)})

    def fitted(self, images: Tensor) -> Tensor:
        # By torch, as recorded figures have it; an option that says how goes by Pillow.
        return resized_or_fitted(images, self.image_size, self.resizing, type(self).resizing)


_PUBLISHED = {
    "classes": 1000,
    "licence": "CC BY 4.0; images: ImageNet's terms",
    "origin": "https://zenodo.org/records/2235448",
    "get": "imagenet-c",
}
_VALIDATION = {
    "classes": 1000,
    "licence": "non-commercial research, on registration",
    "origin": "https://image-net.org/download.php",
    "get": "imagenet",
}


class _Published(_ImageNetC):
    """Files below ``ImageNet-C``: the authors', or in their layout."""

    def __init__(self, argument: str, data_dir: Path) -> None:
        super().__init__(argument, data_dir)
        self.provenance = read_marker(data_dir / "ImageNet-C")
        self.name = name_of(type(self).name, self.provenance)


class ImageNetC(_Published, _Listed):
    """``imagenet-c``: ImageNet-C as published, RobustBench's 5,000 images."""

    name = "imagenet-c"
    facts = DatasetFacts("ImageNet-C (5,000)", images=LISTED, **_PUBLISHED)


class ImageNetCFull(_Published):
    """``imagenet-c-full``: ImageNet-C as published, all 50,000 images."""

    name = "imagenet-c-full"
    facts = DatasetFacts("ImageNet-C", images=50_000, **_PUBLISHED)


class ImageNetCGenerated(_Generated, _Listed):
    """``imagenet-c@gen``: RobustBench's 5,000 images, made on the fly from the validation set."""

    name = "imagenet-c@gen"
    facts = DatasetFacts("ImageNet-C (5,000), generated", images=LISTED, **_VALIDATION)


class ImageNetCFullGenerated(_Generated, _ImageNetC):
    """``imagenet-c-full@gen``: all 50,000 images, made on the fly from the validation set."""

    name = "imagenet-c-full@gen"
    facts = DatasetFacts("ImageNet-C, generated", images=50_000, **_VALIDATION)
