"""How big images are shown to a model: what the options say, known without torch.

``--input-size H[,W]`` is the size in pixels; ``--resize`` says how an image gets near it, ``HOW``,
``FILTER`` or both; ``--crop`` is the fraction of each side of the resized image that is shown, its
centre.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tta.foundation.errors import UserError
from tta.foundation.text import shown

Size = tuple[int, int]
"""(height, width) in pixels."""
LARGEST_SIDE = (1 << 16) - 1
"""In pixels."""
HOWS = ("shorter", "squash", "none")
"""Resize by the shorter side, keeping the aspect ratio; both sides, without it; not at all."""
FILTERS = ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos")
"""Of the resampling, by timm's names."""


def parse_input_size(value: Any) -> Size:
    """Return ``H``, ``H,W`` or a list of one or two numbers as (height, width).

    Raises:
        UserError: it is something else.
    """
    sides = value.split(",") if isinstance(value, str) else value
    sides = list(sides) if isinstance(sides, Sequence) else [sides]
    numbers = [_pixels(side) for side in sides]
    if len(numbers) not in (1, 2) or None in numbers:
        raise UserError(f"--input-size takes H or H,W in whole pixels, but got {shown(value)}")
    return numbers[0], numbers[-1]


def _pixels(value: Any) -> int | None:
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value) if len(value) < 9 else None
    whole = isinstance(value, int) and not isinstance(value, bool) and 0 < value <= LARGEST_SIDE
    return value if whole else None


def parse_resize(value: Any) -> str:
    """Return ``HOW``, ``FILTER`` or ``HOW,FILTER`` in this order, whatever order they came in.

    Raises:
        UserError: another word, two of a kind, or a filter for ``none``.
    """
    words = value if isinstance(value, (list, tuple)) else str(value).split(",")
    words = [str(word).strip() for word in words]
    known = [word for word in words if word in HOWS + FILTERS]
    hows, filters = ([word for word in known if word in kind] for kind in (HOWS, FILTERS))
    if len(known) < len(words) or not words or max(len(hows), len(filters)) > 1:
        raise UserError(
            f"--resize takes one of {', '.join(HOWS)} and, after a comma, one of "
            f"{', '.join(FILTERS)}, or one of them alone, but got {shown(value)}"
        )
    if hows == ["none"] and filters:
        raise UserError(f"--resize none resamples nothing, so it takes no filter ({filters[0]})")
    return ",".join(hows + filters)


def parse_crop(value: Any) -> float:
    """Return a fraction above 0 and at most 1.

    Raises:
        UserError: it is something else.
    """
    try:
        fraction = float("nan" if isinstance(value, bool) else value)
    except (TypeError, ValueError, OverflowError):
        fraction = float("nan")
    if not 0 < fraction <= 1:
        raise UserError(
            "--crop takes the fraction of each side that is shown, above 0 and at most 1, but got "
            f"{shown(value)}"
        )
    return fraction


def check_together(resize: str | None, crop: float | None) -> None:
    """Refuse a crop of what is not resized.

    Raises:
        UserError: that is asked for.
    """
    if resize == "none" and crop not in (None, 1.0):
        raise UserError(
            "--crop says how much of the resized image is shown, and --resize none resizes "
            "nothing; cut out less by a smaller --input-size"
        )


def in_words(size: Size) -> str:
    """Return a size as ``HxW``."""
    return f"{size[0]}x{size[1]}"


def as_option(size: Size) -> str:
    """Return what ``--input-size`` takes for a size."""
    return ",".join(map(str, dict.fromkeys(size)))
