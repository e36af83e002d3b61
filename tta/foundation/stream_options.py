"""What the options of a stream may say, known before numpy and torch."""

from __future__ import annotations

from typing import Any

from tta.foundation.errors import UserError
from tta.foundation.options import GREATEST_INTEGER
from tta.foundation.text import shown

CANONICAL = "canonical"
PETTA = (
    "motion_blur",
    "snow",
    "fog",
    "shot_noise",
    "defocus_blur",
    "contrast",
    "zoom_blur",
    "brightness",
    "frost",
    "elastic_transform",
    "glass_blur",
    "gaussian_noise",
    "pixelate",
    "jpeg_compression",
    "impulse_noise",
)
"""The order of CIFAR-10-C in RoTTA (Yuan et al., CVPR 2023) and PeTTA (Hoang et al., NeurIPS
2024)."""
ORDERS = {"petta": PETTA}
"""Published orders of domains, by name."""
RANDOM = "random"


def parse_order(value: Any) -> str:
    """Return ``canonical``, a name of :data:`ORDERS` or ``random:SEED``.

    Raises:
        UserError: it is something else.
    """
    word, _, seed = str(value).partition(":")
    if value in (CANONICAL, *ORDERS) or word == RANDOM and order_seed(str(value)) is not None:
        return f"{RANDOM}:{int(seed)}" if seed else word
    raise UserError(
        f"--order takes {CANONICAL}, {', '.join(ORDERS)} or {RANDOM}:SEED with a whole number from "
        f"0 on, but got {shown(value)}"
    )


def order_seed(order: str) -> int | None:
    """Return the seed of a random order of domains; None for any other order."""
    word, _, seed = order.partition(":")
    if word != RANDOM or not (seed.isascii() and seed.isdecimal()) or len(seed) > 19:
        return None
    return int(seed) if int(seed) <= GREATEST_INTEGER else None
