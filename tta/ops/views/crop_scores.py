"""Scores of all crops of an image, of the pixels within alone: they move with the image.

A crop that two pictures share has the same score in both to the last bit: sums are of integers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def box_sums(values: Tensor, height: int, width: int) -> Tensor:
    """Return the sums over all boxes ``[B, H - height + 1, W - width + 1]``.

    Args:
        values: integers ``[B, H, W]``.
        height: of a box.
        width: likewise.
    """
    table = torch.nn.functional.pad(values.long(), (1, 0, 1, 0)).cumsum(1).cumsum(2)
    rows = table[:, height:] - table[:, :-height]
    return rows[:, :, width:] - rows[:, :, :-width]


def brightness(grey: Tensor, height: int, width: int) -> Tensor:
    """Return the sum of the pixels of every crop; see :func:`box_sums`."""
    return box_sums(grey, height, width)


def edges(grey: Tensor, height: int, width: int) -> Tensor:
    """Return the sum of squared differences of neighbours within every crop, as above."""
    across = box_sums(grey.diff(dim=2).long().square(), height, width - 1)
    down = box_sums(grey.diff(dim=1).long().square(), height - 1, width)
    return across + down


def filter_response(grey: Tensor, height: int, width: int, weights: Sequence[int]) -> Tensor:
    """Return the response of a square filter at the centre of every crop, as above.

    Args:
        grey: integers ``[B, H, W]``.
        height: of a crop, no less than the filter's.
        width: likewise.
        weights: of the filter, row by row: whole numbers.
    """
    side = round(len(weights) ** 0.5)
    rows, columns = grey.shape[1] - height + 1, grey.shape[2] - width + 1
    top, left = (height - side) // 2, (width - side) // 2
    total = grey.new_zeros(len(grey), rows, columns)
    for place, weight in enumerate(weights):
        y, x = top + place // side, left + place % side
        total = total + weight * grey[:, y : y + rows, x : x + columns]
    return total


def random_weights(side: int, generator: torch.Generator) -> list[int]:
    """Return the weights of a random filter of odd ``side``: as many 1 as -1, and one 0."""
    half = side * side // 2
    ordered = [1] * half + [-1] * half + [0]
    return [ordered[row] for row in torch.randperm(side * side, generator=generator).tolist()]


def best_crops(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Return top and left ``[B]`` of the greatest of the scores ``[B, Y, X]``.

    Of equal ones the first, row by row.
    """
    found = scores.flatten(1).argmax(1)
    return found // scores.shape[2], found % scores.shape[2]


def cut(images: Tensor, top: Tensor, left: Tensor, height: int, width: int) -> Tensor:
    """Return a crop ``[B, C, height, width]`` of each image ``[B, C, H, W]``, by its place."""
    rows = top[:, None] + torch.arange(height, device=images.device)
    columns = left[:, None] + torch.arange(width, device=images.device)
    batch = torch.arange(len(images), device=images.device)[:, None, None]
    return images[batch, :, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)


def joined(images: Tensor, height: int, width: int) -> Tensor:
    """Return images ``[B, C, H, W]`` with as much of themselves below and to the right again.

    Crops of that height and width within are then those at every place of an image whose opposite
    sides are joined.
    """
    wide = torch.cat([images, images[..., : width - 1]], 3)
    return torch.cat([wide, wide[:, :, : height - 1]], 2)
