"""The corruptions one image at a time, as the official script does them: numpy, Pillow and scipy.

Only speed is measured here: these follow the published descriptions, call by call and image by
image, and need no Wand, OpenCV or scikit-image, so that they run wherever the project does.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.ndimage import convolve, gaussian_filter, map_coordinates, zoom

from tta.corruptions.interpolation import severity_constants
from tta.corruptions.severity import choose_table

Picture = np.ndarray
"""uint8 ``[H, H, 3]``."""


def per_image(
    name: str, severity: int, side: int, frost: list[Path], rng: np.random.Generator
) -> Callable[[Picture], Picture]:
    """Return a function that corrupts one picture.

    Args:
        name: of the corruption.
        severity: 1 to 5.
        side: of the pictures.
        frost: texture files, one of which is read for every picture.
        rng: of all draws.
    """
    constants = severity_constants(name, severity, choose_table(name, side, None))
    extra: dict[str, Any] = {"frost": {"files": frost}}.get(name, {})
    return partial(_FUNCTIONS[name], constants=constants, rng=rng, **extra)


def _bytes(unit: np.ndarray) -> Picture:
    return (np.clip(unit, 0, 1) * 255).astype(np.uint8)


def _gaussian_noise(picture: Picture, constants: float, rng: np.random.Generator) -> Picture:
    unit = picture / 255.0
    return _bytes(unit + rng.normal(size=unit.shape, scale=constants))


def _shot_noise(picture: Picture, constants: float, rng: np.random.Generator) -> Picture:
    return _bytes(rng.poisson(picture / 255.0 * constants) / constants)


def _impulse_noise(picture: Picture, constants: float, rng: np.random.Generator) -> Picture:
    unit = picture / 255.0
    flipped = rng.random(unit.shape) < constants
    salted = rng.random(unit.shape) < 0.5
    unit[flipped & salted] = 1
    unit[flipped & ~salted] = 0
    return _bytes(unit)


def _defocus_blur(picture: Picture, constants: Any, rng: np.random.Generator) -> Picture:
    radius, smoothing = constants
    reach = max(8, int(radius))
    offsets = np.arange(-reach, reach + 1)
    disk = (offsets[:, None] ** 2 + offsets**2 <= radius**2).astype(np.float64)
    kernel = gaussian_filter(disk / disk.sum(), smoothing, truncate=1 / smoothing)
    unit = picture / 255.0
    channels = [convolve(unit[..., channel], kernel, mode="mirror") for channel in range(3)]
    return _bytes(np.stack(channels, -1))


def _blurred(unit: np.ndarray, sigma: float) -> np.ndarray:
    return gaussian_filter(unit, (sigma, sigma, 0), mode="nearest")


def _glass_blur(picture: Picture, constants: Any, rng: np.random.Generator) -> Picture:
    sigma, reach, passes = constants
    side = len(picture)
    shuffled = _bytes(_blurred(picture / 255.0, sigma))
    for _ in range(passes):
        for row in range(side - reach, reach, -1):
            for column in range(side - reach, reach, -1):
                down, right = rng.integers(-reach, reach, size=2)
                other = row + down, column + right
                # In effect no exchange, as in the script that made the published sets.
                shuffled[row, column] = shuffled[other]
    return _bytes(_blurred(shuffled / 255.0, sigma))


def _along(levels: np.ndarray, radius: int, sigma: float, angle: float) -> np.ndarray:
    steps = np.arange(2 * radius + 1)
    weights = np.exp(-0.5 * (steps / sigma) ** 2)
    weights /= weights.sum()
    total = np.zeros(levels.shape)
    for step, weight in zip(steps, weights, strict=True):
        down, right = round(step * np.sin(angle)), round(step * np.cos(angle))
        rows = np.clip(np.arange(len(levels)) + down, 0, len(levels) - 1)
        columns = np.clip(np.arange(len(levels)) + right, 0, len(levels) - 1)
        total += weight * levels[rows][:, columns]
    return total


def _through_png(picture: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    with Image.open(file) as image:
        return np.asarray(image)


def _motion_blur(picture: Picture, constants: Any, rng: np.random.Generator) -> Picture:
    angle = np.radians(rng.uniform(-45, 45))
    return _along(_through_png(picture), *constants, angle).astype(np.uint8)


def _zoomed(unit: np.ndarray, factor: float) -> np.ndarray:
    side = len(unit)
    crop = int(np.ceil(side / factor))
    top = (side - crop) // 2
    factors = (factor, factor, 1)[: unit.ndim]
    larger = zoom(unit[top : top + crop, top : top + crop], factors, order=1)
    trim = (len(larger) - side) // 2
    return larger[trim : trim + side, trim : trim + side]


def _zoom_blur(picture: Picture, constants: Any, rng: np.random.Generator) -> Picture:
    unit = (picture / 255.0).astype(np.float32)
    factors = np.arange(1, *constants)
    total = sum(_zoomed(unit, factor) for factor in factors)
    return _bytes((unit + total) / (len(factors) + 1))


def _snow(picture: Picture, constants: Any, rng: np.random.Generator) -> Picture:
    mean, deviation, factor, threshold, radius, sigma, weight = constants
    unit = picture / 255.0
    flakes = _zoomed(rng.normal(mean, deviation, unit.shape[:2]), factor)
    flakes[flakes < threshold] = 0
    angle = np.radians(rng.uniform(-135, -45))
    streaks = _along(_through_png(_bytes(flakes)), int(radius), sigma, angle)[..., None] / 255
    grey = (unit @ np.array([0.299, 0.587, 0.114]))[..., None]
    whiter = weight * unit + (1 - weight) * np.maximum(unit, grey * 1.5 + 0.5)
    return _bytes(whiter + streaks + np.rot90(streaks, 2))


def _frost(
    picture: Picture, constants: Any, rng: np.random.Generator, files: list[Path]
) -> Picture:
    weight, frost_weight, stride = constants
    side = len(picture)
    with Image.open(files[rng.integers(len(files))]) as image:
        small = (image.width // stride, image.height // stride)
        texture = np.asarray(image.convert("RGB").resize(small, Image.Resampling.BILINEAR))
    top, left = (rng.integers(extent - side) for extent in texture.shape[:2])
    cut = texture[top : top + side, left : left + side]
    return np.clip(weight * picture + frost_weight * cut, 0, 255).astype(np.uint8)


def _plasma(side: int, decay: float, rng: np.random.Generator) -> np.ndarray:
    heights = np.zeros((side, side))
    step, wobble = side, 100.0
    while step >= 2:
        half = step // 2
        corners = heights[::step, ::step]
        total = corners + np.roll(corners, -1, 0)
        total += np.roll(total, -1, 1)
        heights[half::step, half::step] = _wobbled(total, wobble, rng)
        middles, corners = heights[half::step, half::step], heights[::step, ::step]
        down = middles + np.roll(middles, 1, 0) + corners + np.roll(corners, -1, 1)
        heights[::step, half::step] = _wobbled(down, wobble, rng)
        right = middles + np.roll(middles, 1, 1) + corners + np.roll(corners, -1, 0)
        heights[half::step, ::step] = _wobbled(right, wobble, rng)
        step, wobble = half, wobble / decay
    heights -= heights.min()
    return heights / heights.max()


def _wobbled(total: np.ndarray, wobble: float, rng: np.random.Generator) -> np.ndarray:
    return total / 4 + wobble * rng.uniform(-wobble, wobble, total.shape)


def _fog(picture: Picture, constants: Any, rng: np.random.Generator) -> Picture:
    strength, decay = constants
    side = len(picture)
    unit = picture / 255.0
    peak = unit.max()
    haze = _plasma(1 << (side - 1).bit_length(), decay, rng)[:side, :side, None]
    return _bytes((unit + strength * haze) * peak / (peak + strength))


def _brightness(picture: Picture, constants: float, rng: np.random.Generator) -> Picture:
    unit = picture / 255.0
    value, low = unit.max(-1), unit.min(-1)
    spread = np.where(value > low, value - low, 1)
    red, green, blue = (unit[..., channel] for channel in range(3))
    hue = np.where(
        value == red,
        (green - blue) / spread % 6,
        np.where(value == green, (blue - red) / spread + 2, (red - green) / spread + 4),
    )
    saturation = (value - low) / np.where(value > 0, value, 1)
    raised = np.clip(value + constants, 0, 1)
    sector = (hue[..., None] + np.array([5, 3, 1])) % 6
    fall = np.clip(np.minimum(sector, 4 - sector), 0, 1)
    return _bytes(raised[..., None] * (1 - saturation[..., None] * fall))


def _contrast(picture: Picture, constants: float, rng: np.random.Generator) -> Picture:
    unit = picture / 255.0
    mean = unit.mean((0, 1), keepdims=True)
    return _bytes((unit - mean) * constants + mean)


def _elastic_transform(picture: Picture, constants: Any, rng: np.random.Generator) -> Picture:
    side = len(picture)
    strength, sigma, jitter = (constant * side for constant in constants)
    centre, reach = side // 2, side // 3
    anchors = centre + reach * np.array([[1, 1], [1, -1], [-1, -1]])
    moved = np.c_[anchors + rng.uniform(-jitter, jitter, (3, 2)), np.ones(3)]
    (a, b), (c, d), (e, f) = np.linalg.solve(moved, anchors)
    margin = side // 2
    unit = np.pad(picture, ((margin, margin), (margin, margin), (0, 0)), mode="reflect")
    unit = unit.astype(np.float32) / 255
    affine = (a, c, e + margin, b, d, f + margin)
    warped = [
        Image.fromarray(unit[..., channel]).transform(
            (side, side), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR
        )
        for channel in range(3)
    ]
    unit = np.stack([np.asarray(channel) for channel in warped], -1)
    shifts = [
        gaussian_filter(rng.uniform(-1, 1, (side, side)), sigma, mode="reflect", truncate=3)
        for _ in range(2)
    ]
    across, down, channel = np.meshgrid(np.arange(side), np.arange(side), np.arange(3))
    rows = down + strength * shifts[0][..., None]
    columns = across + strength * shifts[1][..., None]
    points = [axis.reshape(-1, 1) for axis in (rows, columns, channel)]
    sampled = map_coordinates(unit, points, order=1, mode="reflect")
    return _bytes(sampled.reshape(unit.shape))


def _pixelate(picture: Picture, constants: float, rng: np.random.Generator) -> Picture:
    side = len(picture)
    small = (int(side * constants),) * 2
    image = Image.fromarray(picture).resize(small, Image.Resampling.BOX)
    return np.asarray(image.resize((side, side), Image.Resampling.BOX))


def _jpeg_compression(picture: Picture, constants: int, rng: np.random.Generator) -> Picture:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=constants)
    with Image.open(file) as image:
        return np.asarray(image)


_FUNCTIONS = {
    "gaussian_noise": _gaussian_noise,
    "shot_noise": _shot_noise,
    "impulse_noise": _impulse_noise,
    "defocus_blur": _defocus_blur,
    "glass_blur": _glass_blur,
    "motion_blur": _motion_blur,
    "zoom_blur": _zoom_blur,
    "snow": _snow,
    "frost": _frost,
    "fog": _fog,
    "brightness": _brightness,
    "contrast": _contrast,
    "elastic_transform": _elastic_transform,
    "pixelate": _pixelate,
    "jpeg_compression": _jpeg_compression,
}
