"""The diamond-square fractal."""

from __future__ import annotations

import torch
from torch import Tensor

from tta.corruptions.random import ImageRandom


def plasma_fractal(side: int, decay: float, random: ImageRandom) -> Tensor:
    """Return fractal height maps [B, side, side] in [0, 1], float32, periodic.

    The diamond-square algorithm: midpoints get the mean of their four neighbours plus uniform
    noise, whose amplitude is the square of a roughness that starts at 100 and is divided by
    ``decay`` whenever the step halves.

    Args:
        side: a power of two.
        decay: above 1; smaller is rougher.
        random: source of the noise.
    """
    batch = len(random)
    heights = torch.zeros(batch, side, side, device=random.device)
    step, roughness = side, 100.0
    while step >= 2:
        half, count = step // 2, side // step
        noise = random.uniform(3, count, count, low=-(roughness**2), high=roughness**2).float()
        corners = heights[:, ::step, ::step].clone()
        pairs = corners + corners.roll(-1, 1)
        centres = (pairs + pairs.roll(-1, 2)).div_(4).add_(noise[:, 0])
        heights[:, half::step, half::step] = centres
        across = (centres + centres.roll(1, 1)).add_(corners + corners.roll(-1, 2))
        heights[:, ::step, half::step] = across.div_(4).add_(noise[:, 1])
        down = (centres + centres.roll(1, 2)).add_(pairs)
        heights[:, half::step, ::step] = down.div_(4).add_(noise[:, 2])
        step, roughness = half, roughness / decay
    heights -= heights.amin((1, 2), keepdim=True)
    return heights.div_(heights.amax((1, 2), keepdim=True))
