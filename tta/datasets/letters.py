"""Letters drawn by this package: images of no digit, as unknown ones beside digits.

Each is a few strokes with jittered ends, width and slant, rasterised and counted as the scans of
``tta.datasets.digits`` were: a bitmap of 32x32 pixels, 4x4 at a time, gives 8x8 levels of 0 to 16,
enlarged like the scans. Letters that look like digits (B, D, G, I, O, Q, S, Z) are left out.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from tta.datasets.base import Dataset, name_digest
from tta.datasets.digits import enlarged

STROKES = {
    "A": ((0, 8, 4, 0), (4, 0, 8, 8), (2, 5, 6, 5)),
    "E": ((1, 0, 1, 8), (1, 0, 7, 0), (1, 4, 6, 4), (1, 8, 7, 8)),
    "F": ((1, 0, 1, 8), (1, 0, 7, 0), (1, 4, 6, 4)),
    "H": ((1, 0, 1, 8), (7, 0, 7, 8), (1, 4, 7, 4)),
    "K": ((1, 0, 1, 8), (7, 0, 1, 5), (3, 4, 7, 8)),
    "L": ((1, 0, 1, 8), (1, 8, 7, 8)),
    "M": ((0, 8, 1, 0), (1, 0, 4, 5), (4, 5, 7, 0), (7, 0, 8, 8)),
    "N": ((1, 8, 1, 0), (1, 0, 7, 8), (7, 8, 7, 0)),
    "T": ((0, 0, 8, 0), (4, 0, 4, 8)),
    "V": ((0, 0, 4, 8), (4, 8, 8, 0)),
    "W": ((0, 0, 2, 8), (2, 8, 4, 3), (4, 3, 6, 8), (6, 8, 8, 0)),
    "X": ((0, 0, 8, 8), (8, 0, 0, 8)),
}
"""Ends (x, y, x, y) of each letter's strokes, in a square of 8, y downwards."""
PER_LETTER = 75
_SIDE = 32
"""Pixels of a bitmap."""


def _bitmap(strokes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a bitmap, bool ``[32, 32]``, of strokes ``[S, 2, 2]`` as a hand may draw them."""
    scale = rng.uniform((2.0, 3.2), (2.7, 3.8))  # as wide and as high as scans of digits are
    width = rng.uniform(1.8, 2.6)
    drawn = (strokes - 4 + rng.normal(0, 0.3, strokes.shape)) * scale
    drawn[..., 0] -= rng.normal(0, 0.15) * drawn[..., 1]
    drawn += _SIDE / 2 + rng.normal(0, 0.8, 2)
    start, along = drawn[:, 0, None], (drawn[:, 1] - drawn[:, 0])[:, None]
    pixels = np.stack(np.meshgrid(np.arange(_SIDE), np.arange(_SIDE)), -1).reshape(1, -1, 2) + 0.5
    share = ((pixels - start) * along).sum(-1) / (along**2).sum(-1)
    nearest = start + share.clip(0, 1)[..., None] * along
    distance = np.linalg.norm(pixels - nearest, axis=-1).min(0)
    return (distance < width).reshape(_SIDE, _SIDE)


@lru_cache(maxsize=1)
def load_letters_rgb() -> tuple[Tensor, np.ndarray]:
    """Return all letters as uint8 ``[900, 3, 32, 32]`` and their labels, numbers of letters."""
    labels = np.arange(len(STROKES) * PER_LETTER) % len(STROKES)
    ends = [np.array(strokes, float).reshape(-1, 2, 2) for strokes in STROKES.values()]
    rng = np.random.default_rng(0)
    bitmaps = np.stack([_bitmap(ends[label], rng) for label in labels])
    levels = bitmaps.reshape(-1, 8, 4, 8, 4).sum((2, 4))
    return enlarged(levels), labels


class Letters(Dataset):
    """``letters``: 900 drawn letters, unknown to a model of digits."""

    name = "letters"
    domains = ("clean",)
    num_classes = len(STROKES)

    def __init__(self) -> None:
        self._images, self._labels = load_letters_rgb()

    def labels(self, domain: str, severity: int) -> np.ndarray:
        return self._labels

    def images(self, domain: str, severity: int, indices: np.ndarray) -> Tensor:
        return self._images[torch.from_numpy(indices)]

    def digest(self) -> str:
        return name_digest(self)
