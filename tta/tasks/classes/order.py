"""Orders of class names, where nothing but their order tells which output is which class."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tta.foundation.errors import UserError


def in_order(names: Sequence[str], order: str | None) -> list[str]:
    """Return class names in the order in which outputs count them.

    Args:
        names: of classes.
        order: "sorted" is by character, as torchvision's ``ImageFolder`` has it; "natural" takes
            digits for numbers; None where both are the same.

    Raises:
        UserError: no order is given, and the two differ.
    """
    by_text, by_number = sorted(names), sorted(names, key=_natural)
    if order is None and by_text != by_number:
        pairs = enumerate(zip(by_text, by_number, strict=True))
        number, (text, natural) = next((k, pair) for k, pair in pairs if len(set(pair)) > 1)
        raise UserError(
            f"class folders can be counted in two orders, as text (class {number} is {text!r}) or "
            f"by number (class {number} is {natural!r}), and nothing tells which one the model "
            "was trained with; pass --class-order sorted (as torchvision's ImageFolder does) or "
            "natural, or the model's class names in order as --classes FILE"
        )
    return by_number if order == "natural" else by_text


def _natural(name: str) -> tuple[list[tuple[int, int, str]], str]:
    parts = [part for part in re.split(r"(\d+)", name) if part]
    key = [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]
    return key, name
