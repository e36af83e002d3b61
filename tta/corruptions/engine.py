"""``corrupt``: one entrance to all corruptions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from tta.corruptions import blur, digital, elastic, glass, motion, noise, spatter, weather, zoom
from tta.corruptions.interpolation import severity_constants
from tta.corruptions.random import draws_of
from tta.corruptions.severity import choose_table
from tta.foundation.errors import UserError

_Corruption = Callable[..., Tensor]

_FUNCTIONS: dict[str, _Corruption] = {
    "gaussian_noise": noise.gaussian_noise,
    "shot_noise": noise.shot_noise,
    "impulse_noise": noise.impulse_noise,
    "defocus_blur": blur.defocus_blur,
    "glass_blur": glass.glass_blur,
    "motion_blur": motion.motion_blur,
    "zoom_blur": zoom.zoom_blur,
    "snow": weather.snow,
    "frost": weather.frost,
    "fog": weather.fog,
    "brightness": digital.brightness,
    "contrast": digital.contrast,
    "elastic_transform": elastic.elastic_transform,
    "pixelate": digital.pixelate,
    "jpeg_compression": digital.jpeg_compression,
    "speckle_noise": noise.speckle_noise,
    "gaussian_blur": blur.gaussian_blur,
    "spatter": spatter.spatter,
    "saturate": digital.saturate,
}

# Values worked on at once: few enough for the cache, enough to hide what a call costs.
_CHUNK_VALUES = 1 << 20


def corrupt(
    images: Tensor,
    name: str,
    severity: float,
    ids: Sequence[int] | Tensor,
    seed: int = 0,
    *,
    table: str | None = None,
    frost_textures: str | Path | None = None,
    glass_swap: str = "official",
) -> Tensor:
    """Corrupt a batch of images as Hendrycks and Dietterich (ICLR 2019) do.

    A row of the result depends on its image, its id, ``name``, ``severity`` and ``seed`` alone: not
    on the rest of the batch, its order, the number of threads or the device.

    Args:
        images: [B, 3, H, H], uint8 in 0 .. 255 or floating point in [0, 1] (rounded to 8 bits).
        name: one of ``CORRUPTIONS`` or ``EXTRA_CORRUPTIONS``; or several, joined by ``+``, which
            follow each other, each on the 8-bit result of the one before.
        severity: 1 to 5; of the 15, also between whole severities, from above 0, where constants
            are interpolated as CCC does.
        ids: one integer id per image.
        seed: any integer; another seed gives other draws.
        table: "cifar" or "imagenet" severity constants; by default chosen by size (below 96
            pixels: cifar).
        frost_textures: folder of the official frost pictures; without it frost is procedural.
        glass_swap: "official" copies pixels as the script behind the published sets does, "fixed"
            exchanges them as the paper describes.

    Returns:
        Tensor of the shape, dtype and device of ``images``, on the 8-bit grid of the published
        sets (truncated, not rounded).

    Raises:
        UserError: unknown name or table, severity out of range, images or ids of a wrong shape.
    """
    if "+" in name:
        options = {"table": table, "frost_textures": frost_textures, "glass_swap": glass_swap}
        for one in name.split("+"):
            images = corrupt(images, one, severity, ids, seed, **options)
        return images
    _check_images(images)
    constants = severity_constants(name, severity, choose_table(name, images.shape[-1], table))
    ids = _as_ids(ids, images)
    levels = images if images.dtype == torch.uint8 else _to_levels(images)
    rows = max(1, _CHUNK_VALUES // images[0].numel()) if len(images) else 1
    options = {
        "frost": {"textures": frost_textures},
        "glass_blur": {"swap": glass_swap},
    }.get(name, {})
    parts = [
        _FUNCTIONS[name](part, constants, draws_of(part_ids, name, severity, seed), **options)
        for part, part_ids in zip(levels.split(rows), ids.split(rows), strict=True)
        if len(part)
    ]
    result = torch.cat(parts) if parts else levels
    return result if images.dtype == torch.uint8 else (result.float() / 255).to(images.dtype)


def _check_images(images: Tensor) -> None:
    square = images.ndim == 4 and images.shape[1] == 3 and images.shape[2] == images.shape[3]
    if not square or images.shape[-1] < 16:
        raise UserError(
            f"images of shape {list(images.shape)} can't be corrupted; expected [B, 3, H, H] with "
            "H of at least 16: crop to a square first"
        )
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise UserError(
            f"images of type {images.dtype} can't be corrupted; expected uint8 in 0 .. 255 or "
            "floating point in [0, 1]"
        )


def _as_ids(ids: Sequence[int] | Tensor, images: Tensor) -> Tensor:
    ids = torch.as_tensor(ids, dtype=torch.int64, device=images.device)
    if ids.shape != images.shape[:1]:
        raise UserError(
            f"ids of shape {list(ids.shape)} for {len(images)} images; expected one id per image"
        )
    return ids


def _to_levels(images: Tensor) -> Tensor:
    return images.float().clamp(0, 1).mul_(255).round_().to(torch.uint8)
