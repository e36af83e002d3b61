"""Cityscapes, and what is measured with its 19 classes: GTA5's pictures, ACDC's weathers.

Below the data folder, as their authors publish them:

    cityscapes/leftImg8bit/{train,val}/<city>/<stem>_leftImg8bit.png
    cityscapes/gtFine/{train,val}/<city>/<stem>_gtFine_labelIds.png
    gta5/images/*.png, gta5/labels/*.png                  labels by the same labelIds
    acdc/rgb_anon/{fog,night,rain,snow}/train/<drive>/<stem>_rgb_anon.png
    acdc/gt/{fog,night,rain,snow}/train/<drive>/<stem>_gt_labelTrainIds.png

Files are taken in sorted order: in other code it is that of the file system, on which figures
depend by tenths.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from tta.datasets.benchmark import Benchmark
from tta.datasets.dense.classes import CITYSCAPES, train_ids
from tta.datasets.dense.files import DenseFiles
from tta.datasets.facts import DatasetFacts
from tta.datasets.headers import read_header
from tta.datasets.stored import StoredDataset
from tta.foundation.errors import UserError

_CLASSES = len(CITYSCAPES.names)


class _Streets(StoredDataset, DenseFiles):
    """Pictures of streets in folders of drives, and label maps in a tree beside.

    Attributes:
        image_suffix: end of the names of image files.
        label_suffix: what it is in the names of label maps.
    """

    class_names = CITYSCAPES.names
    palette = CITYSCAPES.palette
    ignore_label = CITYSCAPES.void
    image_suffix: ClassVar[str] = ".png"
    label_suffix: ClassVar[str] = ".png"

    def __init__(self, argument: str, data_dir: Path) -> None:
        super().__init__(argument, data_dir)
        self._known: dict[str, list[tuple[Path, Path]]] = {}

    def trees(self, domain: str) -> tuple[Path, Path]:
        """Return the folders below which a domain's images and label maps lie."""
        raise NotImplementedError

    def pairs(self, domain: str) -> list[tuple[Path, Path]]:
        if domain not in self._known:
            self._known[domain] = self._paired(*self.trees(domain))
        return self._known[domain]

    def _paired(self, images: Path, labels: Path) -> list[tuple[Path, Path]]:
        if not images.is_dir():
            raise self.fault(f"no folder {str(images)!r}")
        found = sorted(images.rglob(f"*{self.image_suffix}"))
        if not found:
            raise self.fault(f"{str(images)!r} holds no *{self.image_suffix}")
        return [(image, labels / self._label_name(image.relative_to(images))) for image in found]

    def _label_name(self, image: Path) -> Path:
        return image.with_name(image.name.removesuffix(self.image_suffix) + self.label_suffix)

    def _found(self, domain: str, severity: int, size: int) -> str:
        return f"{str(self.trees(domain)[0])!r} holds {size} images"


class _CityscapesFiles(_Streets):
    """A split of Cityscapes."""

    image_suffix = "_leftImg8bit.png"
    label_suffix = "_gtFine_labelIds.png"
    label_table = train_ids()

    def trees(self, domain: str) -> tuple[Path, Path]:
        root = self.data_dir / "cityscapes"
        return root / "leftImg8bit" / domain, root / "gtFine" / domain


class Cityscapes(_CityscapesFiles):
    """``cityscapes``: the validation images, as for models that are trained on GTA5."""

    name = "cityscapes"
    domains = ("val",)
    usual_size = (512, 1024)
    scored_size = (1024, 2048)
    benchmark = Benchmark(source="gta5", preset="gta5-cityscapes", batch_size=1)
    facts = DatasetFacts(
        "Cityscapes (validation)",
        _CLASSES,
        500,
        "non-commercial research, on registration",
        "https://www.cityscapes-dataset.com",
        get="cityscapes",
        metric="mIoU",
    )


class CityscapesSource(_CityscapesFiles):
    """``cityscapes-source``: the training images."""

    name = "cityscapes-source"
    domains = ("train",)
    usual_size = (512, 1024)
    facts = DatasetFacts(
        "Cityscapes (train)",
        _CLASSES,
        2975,
        "non-commercial research, on registration",
        "https://www.cityscapes-dataset.com",
        get="cityscapes",
        metric="mIoU",
    )


class Acdc(_Streets):
    """``acdc``: ACDC (Sakaridis et al., ICCV 2021), the training images in four conditions.

    CoTTA's protocol: images of 960x540, label maps of 1920x1080, one at a time; its ten rounds are
    ``--scenario recurring --visits 10``.
    """

    name = "acdc"
    domains = ("fog", "night", "rain", "snow")
    image_suffix = "_rgb_anon.png"
    label_suffix = "_gt_labelTrainIds.png"
    usual_size = (540, 960)
    scored_size = (1080, 1920)
    benchmark = Benchmark(source="cityscapes-source", preset="cityscapes-acdc", batch_size=1)
    facts = DatasetFacts(
        "ACDC (train)",
        _CLASSES,
        400,
        "non-commercial research, on registration",
        "https://acdc.vision.ee.ethz.ch",
        get="acdc",
        metric="mIoU",
    )

    def trees(self, domain: str) -> tuple[Path, Path]:
        root = self.data_dir / "acdc"
        return root / "rgb_anon" / domain / "train", root / "gt" / domain / "train"


class Gta5(_Streets):
    """``gta5``: GTA5 (Richter et al., ECCV 2016), pictures of a game as source images.

    Some of the published label maps are not of their picture's size; these pairs are left out, and
    a run says how many.
    """

    name = "gta5"
    domains = ("train",)
    label_table = train_ids()
    usual_size = (526, 957)
    facts = DatasetFacts(
        "GTA5",
        _CLASSES,
        24_966,
        "research use",
        "https://download.visinf.tu-darmstadt.de/data/from_games",
        get="gta5",
        metric="mIoU",
    )

    def trees(self, domain: str) -> tuple[Path, Path]:
        root = self.data_dir / "gta5"
        return root / "images", root / "labels"

    def pairs(self, domain: str) -> list[tuple[Path, Path]]:
        return self._whole

    @cached_property
    def _whole(self) -> list[tuple[Path, Path]]:
        """The pairs of one size; a missing label map is named where it is asked for."""
        return [pair for pair in super().pairs("train") if not self._differs(*pair)]

    def _differs(self, image: Path, labels: Path) -> bool:
        if not labels.is_file():
            return False
        return read_header(image, self.cure, True).size != read_header(labels, self.cure, True).size

    @property
    def left_out(self) -> int:
        """How many pairs are of two sizes."""
        return len(super().pairs("train")) - len(self._whole)

    def _count_faults(self, domain: str, severity: int, size: int) -> Iterator[UserError]:
        yield from super()._count_faults(domain, severity, size + self.left_out)

    def understood(self) -> dict[str, str]:
        count = f"{len(self._whole):,} images"
        lost = self.left_out
        said = f"; left out: {lost} whose label map has another size" if lost else ""
        return {**super().understood(), "files": count + said}
