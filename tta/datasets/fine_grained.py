"""The ten fine-grained data sets that methods for CLIP report on: test images of CoOp's splits.

Below the data folder, as CoOp lays them out, each as :mod:`tta.datasets.coop_sets` has it:

    <folder>/<split>                      files, labels, and the names that go into prompts
    <folder>/<images>/...                 images
    fgvc_aircraft/variants.txt            names of its classes, whose split names images by number

Templates are those of CoOp's zero-shot CLIP; what is published under others says so.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from tta.datasets.benchmark import Benchmark
from tta.datasets.coop_sets import COOP_SETS, CoopSet
from tta.datasets.image_files import ImageFileDataset
from tta.datasets.split_lists import Listed, WrongListError, read_split, read_variants
from tta.datasets.stored import StoredDataset

ON_CLIP = Benchmark(backbone="clip:ViT-B-16/openai")


class FineGrained(StoredDataset, ImageFileDataset):
    """The test images of a list, in its order; classes are called as the list calls them.

    Attributes:
        row: of the table of data sets.
    """

    row: ClassVar[CoopSet]
    domains = ("test",)
    named_by_list = True
    benchmark = ON_CLIP

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.row = COOP_SETS[cls.name]
        cls.facts = cls.row.facts

    @property
    def split(self) -> Path:
        """The list."""
        return self.data_dir / self.row.folder / self.row.split

    @property
    def prompt_names(self) -> tuple[str, ...]:
        """Names of the classes in label order."""
        return self._listed.classes

    def labels(self, domain: str, severity: int) -> np.ndarray:
        return self._listed.labels

    def file(self, domain: str, severity: int, index: int) -> Path:
        return self.split.parent / self.row.images / self._listed.files[index]

    def read(self) -> Listed:
        """Return what the list says, see :mod:`tta.datasets.split_lists`."""
        return read_split(self.split)

    @cached_property
    def _listed(self) -> Listed:
        try:
            listed = self.read()
        except FileNotFoundError as error:
            raise self.fault(f"no list {str(error.filename)!r}") from error
        except OSError as error:
            raise self.fault(
                f"list {str(error.filename)!r} cannot be read ({error.strerror})"
            ) from error
        except WrongListError as error:
            raise self.fault(f"list {error}") from error
        if len(listed.classes) != self.num_classes:
            raise self.fault(
                f"list {str(self.split)!r} names {len(listed.classes)} classes where "
                f"{self.facts.title} has {self.num_classes}"
            )
        return listed

    def _found(self, domain: str, severity: int, size: int) -> str:
        return f"list {str(self.split)!r} names {size} test images"


class Caltech101(FineGrained):
    """``caltech101``: Caltech101 (Fei-Fei et al., CVPR Workshop 2004), objects, by CoOp's split."""

    name = "caltech101"


class DescribableTextures(FineGrained):
    """``dtd``: Describable Textures (Cimpoi et al., CVPR 2014), by CoOp's split."""

    name = "dtd"
    benchmark = ON_CLIP.but(templates=("{} texture.",))


class EuroSat(FineGrained):
    """``eurosat``: EuroSAT (Helber et al., JSTARS 2019), land from above, by CoOp's split."""

    name = "eurosat"
    benchmark = ON_CLIP.but(templates=("a centered satellite photo of {}.",))


class FgvcAircraft(FineGrained):
    """``fgvc_aircraft``: FGVC-Aircraft (Maji et al., 2013), variants, its own test images."""

    name = "fgvc_aircraft"
    benchmark = ON_CLIP.but(templates=("a photo of a {}, a type of aircraft.",))

    def read(self) -> Listed:
        return read_variants(self.split)


class Flowers102(FineGrained):
    """``flowers102``: Flowers102 (Nilsback and Zisserman, ICVGIP 2008), by CoOp's split."""

    name = "flowers102"
    benchmark = ON_CLIP.but(templates=("a photo of a {}, a type of flower.",))


class Food101(FineGrained):
    """``food101``: Food101 (Bossard et al., ECCV 2014), dishes, by CoOp's split."""

    name = "food101"
    benchmark = ON_CLIP.but(templates=("a photo of {}, a type of food.",))


class OxfordPets(FineGrained):
    """``oxford_pets``: Oxford Pets (Parkhi et al., CVPR 2012), breeds, by CoOp's split."""

    name = "oxford_pets"
    benchmark = ON_CLIP.but(templates=("a photo of a {}, a type of pet.",))


class StanfordCars(FineGrained):
    """``stanford_cars``: Stanford Cars (Krause et al., 3dRR 2013), by CoOp's split."""

    name = "stanford_cars"


class Sun397(FineGrained):
    """``sun397``: SUN397 (Xiao et al., CVPR 2010), scenes, by CoOp's split."""

    name = "sun397"


class Ucf101(FineGrained):
    """``ucf101``: UCF101 (Soomro et al., 2012), middle frames of actions, by CoOp's split."""

    name = "ucf101"
    benchmark = ON_CLIP.but(templates=("a photo of a person doing {}.",))
