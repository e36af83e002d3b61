"""torchvision's shift of the hue, to the bit, in about half of its operators."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from tta.foundation.from_host import from_host


def adjust_hue(images: Tensor, turns: float) -> Tensor:
    """Turn the hue of images ``[B, 3, H, W]`` in [0, 1] by ``turns`` of the colour circle.

    In float32 equal to ``torchvision.transforms.v2.functional.adjust_hue``: the same roundings in
    the same order. It takes a plane for each case and masks; here one look-up finds each pixel's
    case.
    """
    images = images.contiguous()  # planes of colours, of which most of what follows is made
    value, brightest = images.max(1, keepdim=True)
    chroma = value - images.amin(1, keepdim=True)
    hue = _hue(images, value, chroma, brightest).add_(turns).remainder_(1.0)
    saturation = (chroma / value).nan_to_num_(0.0)  # of black
    return _colours(hue, saturation, value)


def _hue(images: Tensor, value: Tensor, chroma: Tensor, brightest: Tensor) -> Tensor:
    """Return the hue ``[B, 1, H, W]`` in [0, 1)."""
    missing = ((value - images) / chroma).nan_to_num_(0.0)  # of greys
    around = torch.cat([missing, missing], 1)
    turned = around[:, 2:5] + _sixths(images.device, images.dtype)
    sixths = turned.sub_(around[:, 1:4]).gather(1, brightest)
    return sixths.mul_(1.0 / 6.0).add_(1.0).fmod_(1.0)


def _colours(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """Return the images ``[B, 3, H, W]`` of hue, saturation and value ``[B, 1, H, W]``."""
    sixths = hue.mul_(6)
    sector = sixths.long()
    share = sixths.frac_().mul_(saturation)
    pale = 1.0 - saturation
    planes = torch.cat([1.0 - share, pale, share + pale, value], 1)
    planes[:, :3].mul_(value)
    batch, _, height, width = hue.shape
    course = _courses(hue.device).index_select(0, sector.flatten())
    return planes.gather(1, course.view(batch, height, width, 3).permute(0, 3, 1, 2))


@cache
def _sixths(device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return where red, green and blue are on the colour circle ``[1, 3, 1, 1]``, in sixths."""
    return torch.arange(0, 6, 2, device=device, dtype=dtype).view(1, 3, 1, 1)


@cache
def _courses(device: torch.device) -> Tensor:
    """Return which plane of :func:`_colours` each colour is in each sector ``[7, 3]``.

    Red's course through the six sectors; green has it two sectors later, blue four. A hue that
    is rounded to the full circle has the seventh sector, which is the first.
    """
    falling, low, rising, value = range(4)
    red = (value, falling, low, low, rising, value)
    courses = [[red[(sector - later) % 6] for later in (0, 2, 4)] for sector in range(7)]
    return from_host(torch.tensor(courses), device)
