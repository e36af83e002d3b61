"""Classes of street scenes, their colours in pictures, and numbers that files use for them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class ClassList:
    """The classes that label maps count.

    Attributes:
        names: in label order.
        palette: red, green and blue of each in published pictures.
        void: value in label maps of what is no class.
    """

    names: tuple[str, ...]
    palette: tuple[Colour, ...]
    void: int


CAMVID = ClassList(
    (
        "sky",
        "building",
        "pole",
        "road",
        "pavement",
        "tree",
        "sign_symbol",
        "fence",
        "car",
        "pedestrian",
        "bicyclist",
    ),
    (
        (128, 128, 128),
        (128, 0, 0),
        (192, 192, 128),
        (128, 64, 128),
        (60, 40, 222),
        (128, 128, 0),
        (192, 128, 128),
        (64, 64, 128),
        (64, 0, 128),
        (64, 64, 0),
        (0, 128, 192),
    ),
    void=11,
)
"""CamVid's, as SegNet (Badrinarayanan et al., TPAMI 2017) joins them."""

CITYSCAPES = ClassList(
    (
        "road",
        "sidewalk",
        "building",
        "wall",
        "fence",
        "pole",
        "traffic light",
        "traffic sign",
        "vegetation",
        "terrain",
        "sky",
        "person",
        "rider",
        "car",
        "truck",
        "bus",
        "train",
        "motorcycle",
        "bicycle",
    ),
    (
        (128, 64, 128),
        (244, 35, 232),
        (70, 70, 70),
        (102, 102, 156),
        (190, 153, 153),
        (153, 153, 153),
        (250, 170, 30),
        (220, 220, 0),
        (107, 142, 35),
        (152, 251, 152),
        (70, 130, 180),
        (220, 20, 60),
        (255, 0, 0),
        (0, 0, 142),
        (0, 0, 70),
        (0, 60, 100),
        (0, 80, 100),
        (0, 0, 230),
        (119, 11, 32),
    ),
    void=255,
)
"""The 19 classes of Cityscapes by their trainIds, which GTA5 and ACDC share."""

_TRAIN_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""The labelId of each trainId, as cityscapesScripts have it."""


def train_ids() -> np.ndarray:
    """Return the trainId of every labelId: uint8 ``[256]``, 255 for what is no class."""
    table = np.full(256, CITYSCAPES.void, np.uint8)
    table[list(_TRAIN_IDS)] = np.arange(len(_TRAIN_IDS))
    return table
