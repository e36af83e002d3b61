"""Severities between the published ones, as in CCC (Press et al., NeurIPS 2023).

Constants are interpolated linearly between whole severities; severity 0 leaves the image as it is.
For the ImageNet table the constants of severity 0 are those of the authors' code; for the CIFAR
table, which CCC does not use, they are chosen in the same way.
"""

from __future__ import annotations

import math
from typing import Any

from tta.corruptions.severity import TABLES
from tta.foundation.errors import UserError

_NOTHING_CIFAR = {
    "gaussian_noise": 0.0,
    "shot_noise": math.inf,
    "impulse_noise": 0.0,
    "defocus_blur": (0.0, 0.0),
    "glass_blur": (0.0, 0, 0),
    "motion_blur": (0, 0.0),
    "zoom_blur": (1.0, 0.01),
    "snow": (0.1, 0.2, 1, 1.0, 8, 3, 1.0),
    "frost": (1.0, 0.0, 5),
    "fog": (0.0, 3),
    "brightness": 0.0,
    "contrast": 1.0,
    "elastic_transform": (0.0, 0.0, 0.0),
    "pixelate": 1.0,
    "jpeg_compression": 100,
}
_NOTHING_IMAGENET = {
    **_NOTHING_CIFAR,
    "snow": (0.1, 0.3, 3, 1.0, 10, 4, 1.0),
    "frost": (1.0, 0.0, 1),
    "fog": (0.0, 2),
    "elastic_transform": (0.0, 999 / 224, 0.0),
    "jpeg_compression": 85,
}
_NOTHING = {"cifar": _NOTHING_CIFAR, "imagenet": _NOTHING_IMAGENET}


def severity_constants(name: str, severity: float, table: str) -> Any:
    """Return the constants of one corruption at one severity.

    Args:
        name: one of ``CORRUPTIONS`` or ``EXTRA_CORRUPTIONS``.
        severity: above 0, at most 5; whole for ``EXTRA_CORRUPTIONS``.
        table: "cifar" or "imagenet".

    Raises:
        UserError: severity out of range, or not whole where it must be.
    """
    if severity in (1, 2, 3, 4, 5):
        return TABLES[table][name][int(severity) - 1]
    if not 0 < severity < 5 or name not in _NOTHING[table]:
        raise UserError(f"severity {severity!r} of {name} is not one of 1, 2, 3, 4, 5")
    points = (_NOTHING[table][name], *TABLES[table][name])
    lower, weight = math.floor(severity), severity - math.floor(severity)
    low, high = points[lower], points[lower + 1]
    if isinstance(high, tuple):
        mixed = [a + weight * (b - a) for a, b in zip(low, high, strict=True)]
        return _whole_numbers(name, mixed)
    if name == "shot_noise":  # what is interpolated is the size of a photon
        return 1 / ((1 - weight) / low + weight / high)
    value = low + weight * (high - low)
    return round(value) if name == "jpeg_compression" else value


def _whole_numbers(name: str, constants: list[float]) -> tuple[float, ...]:
    """Round the constants that count pixels or passes, as the functions that read them do."""
    if name == "glass_blur":
        sigma, reach, passes = constants
        return sigma, round(max(reach, 1)), round(passes)
    if name == "motion_blur":
        radius, sigma = constants
        return math.ceil(radius), sigma  # ImageMagick's line has 2 ceil(radius) + 1 taps
    if name == "snow":
        constants[4] = math.ceil(constants[4])
    if name == "frost":
        constants[2] = round(constants[2])
    return tuple(constants)
