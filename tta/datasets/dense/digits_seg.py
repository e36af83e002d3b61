"""Digits on a canvas: a benchmark of segmentation with nothing to download.

Each picture of 64x64 pixels shows four scans of ``tta.datasets.digits`` in sizes from 18 to 30
pixels, one in each quarter, in some colour on a background that grows lighter towards one side and
is stained. A pixel's class is the digit whose ink covers most of it, or background. Pictures of
the source split show its scans, those of the test split the others, every scan once.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tta.corruptions import CORRUPTIONS, frost_source
from tta.datasets.base import Dataset, name_digest
from tta.datasets.benchmark import Benchmark, shipped
from tta.datasets.dense.corrupted import CorruptedMaps
from tta.datasets.digits import digit_scans, split_rows
from tta.datasets.resizing import SQUASH

SIZE = 64
CLASSES = (*map(str, range(10)), "background")
BACKGROUND = CLASSES.index("background")
PALETTE = (
    (31, 119, 180),
    (255, 127, 14),
    (44, 160, 44),
    (214, 39, 40),
    (148, 103, 189),
    (140, 86, 75),
    (227, 119, 194),
    (127, 127, 127),
    (188, 189, 34),
    (23, 190, 207),
    (240, 240, 240),
)
WEIGHTS = shipped("digits_segnet.safetensors")
_DIGITS = 4
_SIDES = (18, 30)
_INK = 0.5
"""Of a pixel, from which it is the digit's."""
_APART = 0.3
"""Least difference in brightness between ink and background, of 1."""


def canvases(rows: np.ndarray, seed: int) -> tuple[Tensor, Tensor]:
    """Return pictures uint8 ``[N, 3, 64, 64]`` and label maps uint8 ``[N, 64, 64]``.

    Args:
        rows: scans to show; each is shown once, in random order, but for those that are left over
            when four at a time have been taken.
        seed: of all that is drawn.
    """
    draws = np.random.default_rng(seed)
    levels, digits = digit_scans()
    taken = draws.permutation(rows)[: len(rows) // _DIGITS * _DIGITS]
    made = [_canvas(levels[four], digits[four], draws) for four in taken.reshape(-1, _DIGITS)]
    pictures, labels = (torch.from_numpy(np.stack(part)) for part in zip(*made, strict=True))
    return pictures.permute(0, 3, 1, 2).contiguous(), labels


def _canvas(
    scans: np.ndarray, digits: np.ndarray, draws: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return a picture ``[64, 64, 3]`` and its label map ``[64, 64]``."""
    picture = _background(draws)
    labels = np.full((SIZE, SIZE), BACKGROUND, np.uint8)
    quarter = SIZE // 2
    for place, (scan, digit) in enumerate(zip(scans, digits, strict=True)):
        side = int(draws.integers(_SIDES[0], _SIDES[1] + 1))
        top, left = draws.integers(0, quarter - side + 1, 2) + quarter * np.array(divmod(place, 2))
        window = slice(top, top + side), slice(left, left + side)
        ink = _enlarged(scan, side)
        picture[window] += ink[..., None] * (_ink_colour(picture[window], draws) - picture[window])
        labels[window][ink > _INK] = digit
    return np.round(picture.clip(0, 1) * 255).astype(np.uint8), labels


def _background(draws: np.random.Generator) -> np.ndarray:
    """Return a colour that grows lighter towards one side, with stains and grain."""
    colour = draws.uniform(0.15, 0.85, 3)
    slope = draws.uniform(-0.15, 0.15, 2)
    grid = np.linspace(-1, 1, SIZE)
    gradient = slope[0] * grid[:, None] + slope[1] * grid
    stains = _enlarged(draws.uniform(-0.08, 0.08, (8, 8)) * 16, SIZE)
    grain = draws.normal(0, 0.02, (SIZE, SIZE))
    return colour + (gradient + stains + grain)[..., None]


def _enlarged(levels: np.ndarray, side: int) -> np.ndarray:
    """Return levels ``[8, 8]`` of 0 to 16 as fractions ``[side, side]`` (bicubic)."""
    image = Image.fromarray((levels / 16).astype(np.float32))
    return np.asarray(image.resize((side, side), Image.Resampling.BICUBIC))


def _ink_colour(behind: np.ndarray, draws: np.random.Generator) -> np.ndarray:
    """Return a colour that is lighter or darker than what is behind it."""
    while True:
        colour = draws.uniform(0, 1, 3)
        if abs(colour.mean() - behind.mean()) >= _APART:
            return colour


@lru_cache(maxsize=2)
def _split(source: bool) -> tuple[Tensor, Tensor]:
    return canvases(split_rows(source), seed=int(source))


class _DigitsOnCanvas(Dataset):
    """Pictures of one split of the scans.

    Attributes:
        clean_pictures: all of them and their label maps.
    """

    task = "segmentation"
    resizing = SQUASH
    num_classes = len(CLASSES)
    class_names = CLASSES
    palette = PALETTE
    benchmark = Benchmark(
        backbone="digits_segnet",
        weights=str(WEIGHTS),
        source="digits-seg-source",
        preset="digits-seg",
        batch_size=4,
    )

    def __init__(self, *, source_split: bool) -> None:
        self._images, self._maps = self.clean_pictures = _split(source_split)

    def labels(self, domain: str, severity: int) -> np.ndarray:
        return np.zeros(len(self._images), np.int64)

    def images(self, domain: str, severity: int, indices: np.ndarray) -> Tensor:
        return self._images[torch.from_numpy(indices)]

    def label_maps(self, domain: str, severity: int, indices: np.ndarray) -> Tensor:
        return self._maps[torch.from_numpy(indices)]

    def digest(self) -> str:
        return name_digest(self)


class SourceDigitsOnCanvas(_DigitsOnCanvas):
    """``digits-seg-source``: 225 clean pictures of the source scans."""

    name = "digits-seg-source"
    domains = ("clean",)

    def __init__(self) -> None:
        super().__init__(source_split=True)


class CorruptedDigitsOnCanvas(CorruptedMaps, _DigitsOnCanvas):
    """``digits-seg``: 224 pictures of the test scans under the corruptions, made on the fly."""

    name = "digits-seg"
    domains = CORRUPTIONS
    severities = (1, 2, 3, 4, 5)
    default_severity = 5
    provenance = {"frost": frost_source(None)}

    def __init__(self) -> None:
        super().__init__(source_split=False)
