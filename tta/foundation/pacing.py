"""Options by which a method adapts to some batches only, as they are typed."""

from __future__ import annotations

import math
from typing import Any

from tta.foundation.errors import UserError
from tta.foundation.text import shown

COSTS = ("measured", "counted")
PACING = (
    "stream_rate",
    "single_model",
    "adaptation_rate",
    "adapt_first",
    "adapt_every",
    "adapt_from",
    "adapt_samples",
    "adapt_classes",
)
"""Options of which batches are adapted to; what a step costs is each method's own."""


def parse_cost(value: Any) -> str | float:
    """Return ``measured``, ``counted`` or a number of forward passes, at least 1.

    Raises:
        UserError: it is something else.
    """
    if value in COSTS:
        return str(value)
    cost = _number(value)
    if not 1 <= cost < math.inf:
        raise UserError(
            "--cost takes measured, counted, or how many plain forward passes a step costs, at "
            f"least 1, but got {shown(value)}"
        )
    return cost


def parse_every(value: Any) -> tuple[int, int]:
    """Return (period, steps) in batches; ``K`` alone means one step.

    Raises:
        UserError: it is something else.
    """
    numbers = _whole_numbers(value)
    if numbers is not None and len(numbers) == 1:
        numbers = (*numbers, 1)
    if numbers is None or len(numbers) != 2 or not 1 <= numbers[1] <= numbers[0]:
        raise UserError(
            "--adapt-every takes K or K,N: adapt to the first N of every K batches, 1 <= N <= K, "
            f"but got {shown(value)}"
        )
    return numbers


def parse_classes(value: Any) -> int | tuple[int, ...]:
    """Return how many classes, or which.

    Raises:
        UserError: it is something else.
    """
    numbers = _whole_numbers(value)
    listed = isinstance(value, list | tuple) or isinstance(value, str) and "," in value
    if not numbers or min(numbers) < 0 or not listed and numbers[0] == 0:
        raise UserError(
            "--adapt-classes takes how many classes, such as 3, or which, such as 0,4,7, but got "
            f"{shown(value)}"
        )
    return tuple(sorted(set(numbers))) if listed else numbers[0]


def _number(value: Any) -> float:
    try:
        return float("nan" if isinstance(value, bool) else value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _whole_numbers(value: Any) -> tuple[int, ...] | None:
    parts = value.rstrip(",").split(",") if isinstance(value, str) else value
    numbers = [_number(part) for part in (parts if isinstance(parts, list | tuple) else [parts])]
    whole = all(number.is_integer() and abs(number) < 1 << 53 for number in numbers)
    return tuple(int(number) for number in numbers) if whole else None


def check_pacing(options: Any) -> None:
    """Refuse options of pacing that contradict each other, or have nothing to act on.

    Args:
        options: a :class:`tta.config.RunConfig`.

    Raises:
        UserError: see above.
    """
    chosen = pacing_rules(options)
    if len(chosen) > 1:
        raise UserError(f"{' and '.join(chosen)} exclude each other: pass one")
    if chosen and options.window > 1:
        raise UserError(f"--window has a pace of its own: leave it or {chosen[0]} out")
    if _holds_out(options) and options.contiguous_batches:
        raise UserError(f"{chosen[0]} parts every domain in two: leave --contiguous-batches out")
    if options.single_model and options.estimate is not None:
        raise UserError(
            "--estimate is of what the model answers, and --single-model guesses: leave one out"
        )
    for flag, given, rules in (
        ("--cost", options.cost != "measured", ("--stream-rate",)),
        ("--single-model", options.single_model, ("--stream-rate",)),
        ("--adapt-first", options.adapt_first, ("--adaptation-rate",)),
        ("--adapt-from", options.adapt_from != "batch", ("--adaptation-rate", "--adapt-every")),
    ):
        if given and not set(rules) & set(chosen):
            raise UserError(f"{flag} belongs to {' or '.join(rules)}: pass that too")


def pacing_rules(options: Any) -> list[str]:
    """Return the flags of the rules that are chosen; none where every batch is adapted to."""
    names = ("stream_rate", "adaptation_rate", "adapt_every")
    rules = ["--" + name.replace("_", "-") for name in names if getattr(options, name) is not None]
    if _holds_out(options):
        samples = options.adapt_samples is not None
        rules.append("--adapt-samples" if samples else "--adapt-classes")
    return rules


def _holds_out(options: Any) -> bool:
    return options.adapt_samples is not None or options.adapt_classes is not None
