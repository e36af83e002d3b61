"""Glass blur: pixels shuffled within a small neighbourhood, between two Gaussian blurs."""

from __future__ import annotations

import torch
from torch import Tensor

from tta.corruptions.blur import smooth
from tta.corruptions.random import ImageRandom
from tta.foundation.errors import UserError, did_you_mean


def glass_blur(
    images: Tensor, constants: tuple[float, int, int], random: ImageRandom, swap: str = "official"
) -> Tensor:
    """Blur, exchange each pixel with a random one at most ``reach`` away, and blur again.

    Args:
        constants: (sigma of both blurs in pixels, reach in pixels, number of passes).
        swap: "official" reproduces the published sets, whose script exchanges two numpy views and
            so copies the neighbour instead; "fixed" exchanges, as the paper describes.
    """
    if swap not in _PASSES:
        raise UserError(f"unknown glass swap {swap!r}; {did_you_mean(swap, _PASSES)}")
    sigma, reach, passes = constants
    side = images.shape[-1]
    sources = _pixels(len(images), side, images.device).flatten()
    for _ in range(passes):
        targets = _draw_targets(side, reach, random)
        sources = sources.index_select(0, _PASSES[swap](targets, side, reach))
    sources = sources.view(len(images), 1, -1).long().remainder_(side**2)
    shuffled = smooth(images, sigma).flatten(2).gather(2, sources.expand(-1, 3, -1))
    return smooth(shuffled.view(images.shape), sigma)


def _draw_targets(side: int, reach: int, random: ImageRandom) -> Tensor:
    """Return the partner of each visited pixel, int32 [B, H, H]; others get themselves.

    Pixels are numbered through the batch. Visited are rows and columns reach + 1 .. H - reach;
    partners lie -reach .. reach - 1 away.
    """
    visited = side - 2 * reach
    offsets = random.integers(-reach, reach, 2, visited, visited)
    targets = _pixels(len(random), side, random.device)
    inner = slice(reach + 1, side - reach + 1)
    targets[:, inner, inner] += offsets[:, 0].mul_(side).add_(offsets[:, 1])
    return targets


def _pixels(count: int, side: int, device: torch.device) -> Tensor:
    numbers = torch.arange(count * side**2, dtype=torch.int32, device=device)
    return numbers.view(count, side, side)


def _copy_pass(targets: Tensor, side: int, reach: int) -> Tensor:
    """Return the source of each pixel, [B * H * H], when visits copy from the partner.

    Pixels are visited from the last to the first. A partner behind its pixel was visited before,
    so its new value is copied: such links form a forest, which pointer jumping collapses.
    """
    links = torch.maximum(targets, _pixels(len(targets), side, targets.device)).flatten()
    while True:
        further = links.index_select(0, links)
        if torch.equal(further, links):
            return targets.flatten().index_select(0, links)
        links = further


def _swap_pass(targets: Tensor, side: int, reach: int) -> Tensor:
    """Return the source of each pixel, [B * H * H], when visits exchange with the partner.

    Visits whose neighbourhoods can't meet are made at once: in one wave the columns of two rows
    that are r apart differ by r * (2 reach + 1).
    """
    sources = _pixels(len(targets), side, targets.device).flatten(1)
    flat = targets.flatten(1).long().remainder_(side**2)
    slope = 2 * reach + 1
    lines = torch.arange(side - 2 * reach, device=targets.device)
    for wave in range((len(lines) - 1) * (slope + 1) + 1):
        columns = wave - lines * slope
        rows = lines[(columns >= 0) & (columns < len(lines))]
        pixels = (side - reach - rows) * side + side - reach - (wave - rows * slope)
        partners = flat[:, pixels]
        kept = sources[:, pixels].clone()
        sources[:, pixels] = sources.gather(1, partners)
        sources.scatter_(1, partners, kept)
    return sources.flatten()


_PASSES = {"official": _copy_pass, "fixed": _swap_pass}
