"""What the options of a stream may say, known before numpy and torch."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
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
    """Return ``canonical``, a name of :data:`ORDERS`, ``random`` or ``random:SEED``.

    Raises:
        UserError: it is something else.
    """
    if value in (CANONICAL, *ORDERS, RANDOM):
        return str(value)
    word, _, seed = str(value).partition(":")
    is_number = seed.isascii() and seed.isdecimal() and len(seed) < 20
    if word == RANDOM and is_number and int(seed) <= GREATEST_INTEGER:
        return f"{RANDOM}:{int(seed)}"
    raise UserError(
        f"--order takes {CANONICAL}, {', '.join(ORDERS)}, {RANDOM} or {RANDOM}:SEED with a whole "
        f"number from 0 on, but got {shown(value)}"
    )


def order_seed(order: str, seed: int) -> int:
    """Return the seed of a random order of domains: its own, or else that of the run."""
    _, _, own = order.partition(":")
    return int(own) if own else seed


_MEANINGS: dict[str, dict[str, float | None]] = {
    "class_stay": {"n": 0.95, "i": None},
    "class_ratio": {"u": 10.0, "1": 1.0},
    "domain_stay": {"n": 0.85, "i": None, "1": 1.0},
    "domain_ratio": {"u": 5.0, "1": 1.0},
}
"""What the letters of a setting mean, in their order; None: all states follow each other alike."""
MARKOV = tuple(map("".join, itertools.product(*_MEANINGS.values())))
"""The settings of UniTTA: whether classes are correlated (n) or not (i) and imbalanced (u) or not
(1), and the same of domains, which may also come in order, each once (1)."""


def parse_markov(value: Any) -> str:
    """Return the name of a setting of UniTTA.

    Raises:
        UserError: it is none.
    """
    if value in MARKOV:
        return str(value)
    raise UserError(
        "--markov takes four letters: n or i, whether classes are correlated or not; u or 1, "
        "imbalanced or not; n, i or 1, correlated domains or not or in order; u or 1, these "
        f"imbalanced or not: nunu, nu1u; but got {shown(value)}"
    )


def markov_settings(name: str, domains: int, classes: int) -> dict[str, float]:
    """Return the numbers of a setting, by the names of the options.

    Args:
        name: of :data:`MARKOV`.
        domains: how many there are; of 15, which the authors have, one is kept with 0.067.
        classes: likewise.
    """
    even = even_stays(domains, classes)
    found = {}
    for (place, meanings), letter in zip(_MEANINGS.items(), name, strict=True):
        value = meanings[letter]
        found[place] = even[place] if value is None else value
    return found


def even_stays(domains: int, classes: int) -> dict[str, float]:
    """Return the probabilities to stay with which all states follow each other alike."""
    return {"class_stay": 1 / classes, "domain_stay": 0.067 if domains == 15 else 1 / domains}


def plain_markov(
    name: str, numbers: Mapping[str, float | None], even: Mapping[str, float]
) -> dict[str, Any]:
    """Return the one form of a setting and of the numbers in place of its own.

    A number that a letter stands for is that letter; where another number is, the letter does not
    count.

    Args:
        name: of :data:`MARKOV`.
        numbers: by the names of the options, None where the setting's own holds.
        even: see :func:`even_stays`; empty where it is not known.
    """
    letters, kept = "", {}
    for (place, meanings), letter in zip(_MEANINGS.items(), name, strict=True):
        value = numbers[place]
        if value is not None:
            same = [other for other, number in meanings.items() if number == value]
            if not same and None in meanings.values() and even.get(place) == value:
                same = ["i"]
            letter, value = [*same, *meanings][0], None if same else value
        letters, kept[place] = letters + letter, value
    return {"markov": letters, **kept}


def parse_classes_per_batch(value: Any) -> tuple[int, int]:
    """Return ``MIN,MAX`` or a list of two numbers, from 1 on, as (least, most).

    Raises:
        UserError: it is something else.
    """
    parts = value.split(",") if isinstance(value, str) else value
    parts = list(parts) if isinstance(parts, (list, tuple)) else [parts]
    numbers = [_count(part) for part in parts]
    if len(numbers) in (1, 2) and None not in numbers and numbers[0] <= numbers[-1]:
        return numbers[0], numbers[-1]
    raise UserError(
        "--classes-per-batch takes the least and the greatest number of classes, such as 1,4, but "
        f"got {shown(value)}"
    )


def _count(value: Any) -> int | None:
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdecimal():
        value = int(value) if len(value) < 9 else None
    whole = isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1_000_000
    return value if whole else None
