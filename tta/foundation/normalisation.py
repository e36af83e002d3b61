"""Mean and standard deviation per channel, as images in [0, 1] are normalised with."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tta.foundation.errors import UserError

CHANNELS = 3
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""What all weights of torchvision's networks were trained with."""


def spread(values: float | Sequence[float], channels: int = CHANNELS) -> tuple[float, ...]:
    """Return one number per channel; a single number stands for all channels."""
    values = (values,) if isinstance(values, int | float) else tuple(values)
    return tuple(map(float, values * channels if len(values) == 1 else values))


def check_normalisation(
    mean: Sequence[float], std: Sequence[float], origin: str, channels: int = CHANNELS
) -> None:
    """Refuse numbers that cannot normalise images in [0, 1].

    Args:
        mean: per channel, from 0 to 1.
        std: per channel, above 0 and up to 1.
        origin: where they come from, for messages.
        channels: of the images.

    Raises:
        UserError: another number of channels, or a value out of range.
    """
    for name, values in (("mean", mean), ("std", std)):
        if len(values) != channels:
            raise UserError(
                f"{origin}: {name} needs {channels} numbers, one per channel, or a single one for "
                f"all, but got {len(values)}"
            )
    shown = f"mean {listed(mean)}, std {listed(std)}"
    if not all(map(math.isfinite, (*mean, *std))):
        raise UserError(f"{origin}: {shown} must be finite")
    if max(*mean, *std) > 1:
        raise UserError(
            f"{origin}: {shown} is for pixels from 0 to 255, and images here go from 0 to 1; "
            f"divide by 255: --mean {_scaled(mean)} --std {_scaled(std)}"
        )
    if min(mean) < 0:
        raise UserError(f"{origin}: {shown}: the mean of images from 0 to 1 is not negative")
    if min(std) <= 0:
        raise UserError(f"{origin}: {shown}: std must be above 0, as it divides the images")


def listed(values: Sequence[float]) -> str:
    """Return numbers as ``--mean`` takes them, with spaces between."""
    return ", ".join(f"{value:.6g}" for value in values)


def shortest(values: Sequence[float]) -> str:
    """Return numbers as ``--mean`` takes them: a single one where all channels have the same."""
    return listed(values[:1] if len(set(values)) == 1 else values)


def _scaled(values: Sequence[float]) -> str:
    return ",".join(f"{value / 255:.4g}" for value in values)
