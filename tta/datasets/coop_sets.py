"""Ten data sets of the literature on CLIP by CoOp's splits: facts, and where the files are.

Zhou et al., "Learning to Prompt for Vision-Language Models", IJCV 2022, whose folders these are.
"""

from __future__ import annotations

from typing import NamedTuple

from tta.datasets.facts import DatasetFacts

SPLITS = "https://github.com/KaiyangZhou/CoOp/blob/main/DATASETS.md"
"""Where CoOp links its lists, which are on Google Drive."""


class CoopSet(NamedTuple):
    """A row of the table.

    Attributes:
        facts: of the test images.
        folder: of all, below the data folder.
        images: folder in that one, below which the lists name files.
        split: list of the images in it.
        example: an image, as the lists name it.
        archive: what holds the images.
    """

    facts: DatasetFacts
    folder: str
    images: str
    split: str
    example: str
    archive: str


def _facts(
    get: str, title: str, classes: int, images: int, licence: str, origin: str
) -> DatasetFacts:
    return DatasetFacts(title, classes, images, licence, origin, get=get, metric="accuracy")


_VGG = "https://www.robots.ox.ac.uk/~vgg/data"
COOP_SETS = {
    row.facts.get: row
    for row in (
        CoopSet(
            _facts(
                "caltech101",
                "Caltech101",
                100,
                2_465,
                "CC BY 4.0",
                "https://data.caltech.edu/records/mzrjq-6wc02",
            ),
            "caltech-101",
            "101_ObjectCategories",
            "split_zhou_Caltech101.json",
            "accordion/image_0001.jpg",
            "101_ObjectCategories.tar.gz of https://data.caltech.edu/records/mzrjq-6wc02",
        ),
        CoopSet(
            _facts(
                "dtd", "Describable Textures", 47, 1_692, "research use", f"{_VGG}/dtd/index.html"
            ),
            "dtd",
            "images",
            "split_zhou_DescribableTextures.json",
            "banded/banded_0060.jpg",
            f"{_VGG}/dtd/download/dtd-r1.0.1.tar.gz",
        ),
        CoopSet(
            _facts("eurosat", "EuroSAT", 10, 8_100, "MIT", "https://github.com/phelber/EuroSAT"),
            "eurosat",
            "2750",
            "split_zhou_EuroSAT.json",
            "AnnualCrop/AnnualCrop_1.jpg",
            "EuroSAT.zip (RGB) of https://github.com/phelber/EuroSAT",
        ),
        CoopSet(
            _facts(
                "fgvc_aircraft",
                "FGVC-Aircraft",
                100,
                3_333,
                "non-commercial research",
                f"{_VGG}/fgvc-aircraft/",
            ),
            "fgvc_aircraft",
            "images",
            "images_variant_test.txt",
            "0034309.jpg",
            f"{_VGG}/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz (its folder data)",
        ),
        CoopSet(
            _facts(
                "flowers102",
                "Flowers102",
                102,
                2_463,
                "none stated; images: their owners'",
                f"{_VGG}/flowers/102/",
            ),
            "oxford_flowers",
            "jpg",
            "split_zhou_OxfordFlowers.json",
            "image_00001.jpg",
            f"{_VGG}/flowers/102/102flowers.tgz",
        ),
        CoopSet(
            _facts(
                "food101",
                "Food101",
                101,
                30_300,
                "research use; images: their owners'",
                "https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/",
            ),
            "food-101",
            "images",
            "split_zhou_Food101.json",
            "apple_pie/1005649.jpg",
            "food-101.tar.gz of https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/",
        ),
        CoopSet(
            _facts("oxford_pets", "Oxford Pets", 37, 3_669, "CC BY-SA 4.0", f"{_VGG}/pets/"),
            "oxford_pets",
            "images",
            "split_zhou_OxfordPets.json",
            "Abyssinian_201.jpg",
            f"{_VGG}/pets/data/images.tar.gz",
        ),
        CoopSet(
            _facts(
                "stanford_cars",
                "Stanford Cars",
                196,
                8_041,
                "non-commercial research",
                "http://ai.stanford.edu/~jkrause/cars/car_dataset.html",
            ),
            "stanford_cars",
            "",
            "split_zhou_StanfordCars.json",
            "cars_test/00001.jpg",
            "cars_test.tgz (its authors' page, http://ai.stanford.edu/~jkrause/cars/, may be down)",
        ),
        CoopSet(
            _facts(
                "sun397",
                "SUN397",
                397,
                19_850,
                "none stated; images: their owners'",
                "https://vision.princeton.edu/projects/2010/SUN/",
            ),
            "sun397",
            "SUN397",
            "split_zhou_SUN397.json",
            "a/abbey/*.jpg",
            "http://vision.princeton.edu/projects/2010/SUN/SUN397.tar.gz",
        ),
        CoopSet(
            _facts(
                "ucf101",
                "UCF101",
                101,
                3_783,
                "none stated; videos: their owners'",
                "https://www.crcv.ucf.edu/data/UCF101.php",
            ),
            "ucf101",
            "UCF-101-midframes",
            "split_zhou_UCF101.json",
            "Archery/v_Archery_g01_c01.jpg",
            f"UCF-101-midframes.zip, CoOp's middle frames of the videos, linked from {SPLITS}",
        ),
    )
}
"""By name."""
