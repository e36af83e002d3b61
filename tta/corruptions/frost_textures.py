"""The pictures that frost is cut from: the official ones where they are at hand, else fractals."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tta.corruptions.pixels import truncate
from tta.corruptions.plasma import plasma_fractal
from tta.corruptions.random import ImageRandom
from tta.foundation.errors import UserError

# The official script never draws its sixth picture, frost6.jpg.
OFFICIAL_FILES = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg")

# Mean colour and deviation of each fractal, as far from one another as the official pictures.
_FRACTALS = (
    ((80, 150, 165), 19),
    ((200, 205, 215), 22),
    ((200, 205, 215), 22),
    ((140, 150, 165), 29),
    ((110, 125, 135), 43),
)
_FRACTAL_SIDE = 1024
_FRACTAL_DECAY = 1.2


def frost_source(textures: str | Path | None) -> str:
    """Return "official" if ``textures`` is the folder of the official pictures.

    Returns "procedural" for None: frost then looks alike but its images are not comparable with
    the published sets, so the two must not share a dataset id.

    Raises:
        UserError: a folder is given that lacks some of the pictures.
    """
    if textures is None:
        return "procedural"
    missing = [name for name in OFFICIAL_FILES if not (Path(textures) / name).is_file()]
    if missing:
        raise UserError(
            f"frost textures: {textures} lacks {', '.join(missing)}; put the pictures of the "
            "official corruption script there, or leave the folder out for procedural frost"
        )
    return "official"


def crop_textures(
    images: Tensor, textures: str | Path | None, stride: int, random: ImageRandom
) -> Tensor:
    """Return a random crop of a random texture for each image, float32 of ``images``' shape.

    Raises:
        UserError: the textures are missing or smaller than the images.
    """
    pictures = _load(None if textures is None else str(textures), stride, images.device)
    choices = random.integers(0, len(pictures)).tolist()
    corners = random.uniform(2).tolist()
    side = images.shape[-1]
    crops = torch.empty(images.shape, device=images.device)
    for crop, choice, corner in zip(crops, choices, corners, strict=True):
        picture = pictures[choice]
        room = [extent - side for extent in picture.shape[1:]]
        if min(room) <= 0:
            raise UserError(
                f"images of side {side} don't fit into a frost texture of "
                f"{picture.shape[1]} x {picture.shape[2]}; frost needs smaller images"
            )
        row, column = (int(unit * free) for unit, free in zip(corner, room, strict=True))
        crop.copy_(picture[:, row : row + side, column : column + side])
    return crops


@lru_cache(maxsize=4)
def _load(textures: str | None, stride: int, device: torch.device) -> tuple[Tensor, ...]:
    """Return the textures as uint8 [3, H, W], every ``stride``-th pixel, in reading order.

    A bilinear reduction to a fifth, as in the official script, reads exactly the middle pixels.
    """
    if frost_source(textures) == "official":
        pictures = [_read(Path(str(textures)) / name) for name in OFFICIAL_FILES]
    else:
        pictures = list(_fractals())
    start = stride // 2
    return tuple(
        picture[:, start::stride, start::stride].contiguous().to(device) for picture in pictures
    )


def _read(path: Path) -> Tensor:
    with Image.open(path) as picture:
        return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)


def _fractals() -> Tensor:
    """Return uint8 [5, 3, 1024, 1024]: grey fractals, tinted."""
    random = ImageRandom(torch.arange(len(_FRACTALS)), "frost_textures", severity=1, seed=0)
    heights = plasma_fractal(_FRACTAL_SIDE, _FRACTAL_DECAY, random).double()
    heights -= heights.mean((1, 2), keepdim=True)
    heights /= heights.std((1, 2), keepdim=True)
    colours = torch.tensor([colour for colour, _ in _FRACTALS], dtype=torch.float64)
    deviations = torch.tensor([deviation for _, deviation in _FRACTALS], dtype=torch.float64)
    return truncate(heights[:, None] * deviations.view(-1, 1, 1, 1) + colours.view(-1, 3, 1, 1))
