"""How an option of a run is declared, and what is refused of a value that is given for it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_args

from tta.foundation.errors import UserError
from tta.foundation.text import is_huge, shown

NUMBERS = tuple[float, ...] | None
"""Type of an option that is a list of numbers."""
NAMES = tuple[str, ...] | None
"""Type of an option that is a list of names."""
GREATEST_INTEGER = (1 << 63) - 1
"""What 64 bits with a sign hold; seeds of NumPy and torch among them."""


def option(
    default: Any,
    help: str,
    group: str,
    *,
    choices: tuple[str, ...] | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    metavar: str | None = None,
    parse: Callable[[Any], Any] | None = None,
) -> Any:
    """Declare one option of a run.

    Args:
        default: value where none is given.
        help: what it is.
        group: under which ``--help`` shows it.
        choices: the only values, if they can be listed.
        minimum: least value of a number.
        maximum: greatest value; where none is given, numbers end at 2^63 - 1.
        metavar: stands for the value in ``--help``.
        parse: makes one form of the several that the value may be given in.
    """
    metadata = {
        "help": help,
        "group": group,
        "choices": choices,
        "minimum": minimum,
        "maximum": maximum,
        "metavar": metavar,
        "parse": parse,
    }
    if isinstance(default, dict):
        return dataclasses.field(default_factory=dict, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def some_of(flag: str, known: tuple[str, ...]) -> Callable[[Any], tuple[str, ...]]:
    """Return what reads some of the names in ``known``: a list, or text with commas between.

    They come back in the order of ``known``, each once; other names raise a ``UserError``.
    """

    def parse(value: Any) -> tuple[str, ...]:
        names = value.split(",") if isinstance(value, str) else value
        if not isinstance(names, tuple | list) or not all(isinstance(one, str) for one in names):
            raise UserError(f"{flag} takes names, such as {known[0]}, but got {shown(value)}")
        wanted = {name.strip() for name in names}
        for name in sorted(wanted.difference(known)):
            raise UserError(f"{flag} has no {shown(name)}; it has: {', '.join(known)}")
        return tuple(name for name in known if name in wanted)

    return parse


def as_declared(value: Any, hint: Any) -> Any:
    """Return a value as its option declares it: equal options are equal to the byte.

    A tuple for a list, or for a single number where several may be given; a float for an int, and
    an int for a whole number such as 1e3.
    """
    kinds = get_args(hint) or (hint,)
    if is_huge(value):
        return value  # beyond every option's range
    if hint == NUMBERS:
        several = (
            value if isinstance(value, list | tuple) else (value,) if _is_number(value) else None
        )
        return value if several is None else tuple(as_declared(one, float) for one in several)
    if float in kinds and _is_number(value):
        return float(value)
    if int in kinds and isinstance(value, float) and value.is_integer():
        return int(value)
    return tuple(value) if isinstance(value, list) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def check_value(field: dataclasses.Field, value: Any) -> None:
    """Refuse a value that is empty, none of the choices, out of range, or no whole text.

    Raises:
        UserError: see above.
    """
    flag = "--" + field.name.replace("_", "-")
    if is_empty(value):
        raise UserError(
            f"{flag} {'is empty' if not value or isinstance(value, str) else 'has an empty name'}"
            ", as where a shell variable is unset; leave it out for the default"
        )
    choices = field.metadata["choices"]
    if choices and value not in (field.default, *choices):
        raise UserError(f"{flag} must be one of {', '.join(choices)}, but got {shown(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{flag} must be finite, but got {value}")
    if _is_number(value):
        _check_range(flag, value, field.metadata["minimum"], field.metadata["maximum"])
    for text in _texts(value):
        if "\0" in text or not _encodable(text):
            raise UserError(
                f"{flag} must be text without NUL or halves of characters, but got {text!r}"
            )


def _check_range(flag: str, value: float, minimum: float | None, maximum: float | None) -> None:
    if minimum is not None and value < minimum:
        raise UserError(f"{flag} must be at least {minimum}, but got {shown(value)}")
    maximum = GREATEST_INTEGER if maximum is None else maximum
    if value > maximum:
        raise UserError(f"{flag} must be at most {maximum}, but got {shown(value)}")


def is_empty(value: Any) -> bool:
    """Return whether a value is empty text, or a list of nothing or with empty text in it."""
    if isinstance(value, tuple):
        return not value or any(is_empty(item) for item in value)
    return isinstance(value, str) and not value.strip()


def _texts(value: Any) -> Iterator[str]:
    """Yield all text in an option's value, by which files and names are looked up."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _texts(name)
            yield from _texts(inner)
    elif isinstance(value, (tuple, list)):
        for inner in value:
            yield from _texts(inner)


def _encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


_KINDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text (in quotes, where YAML takes it for something else)",
    tuple: "a list of names, such as [fog, snow]",
    dict: "a mapping, such as {lr: 0.001}",
    type(None): "null",
}


def check_type(name: str, value: Any, hint: Any, origin: str) -> None:
    """Refuse a value of another type than its option's.

    Args:
        name: of the option.
        value: see :func:`as_declared`.
        hint: the declared type.
        origin: where the value comes from, for messages.

    Raises:
        UserError: see above.
    """
    kinds = tuple(getattr(kind, "__origin__", kind) for kind in get_args(hint)) or (
        getattr(hint, "__origin__", hint),
    )
    if hint == dict[str, Any]:
        kinds = (dict,)
    accepted = (*kinds, int) if float in kinds else kinds
    if isinstance(value, bool) and bool not in kinds or not isinstance(value, accepted):
        expected = " or ".join(_KINDS[kind] for kind in kinds)
        got = shown(list(value) if isinstance(value, tuple) else value)
        raise UserError(f"{origin}: {name} must be {expected}, but got {got}")
    if isinstance(value, tuple):
        _check_items(name, value, hint, origin)


def _check_items(name: str, values: tuple[Any, ...], hint: Any, origin: str) -> None:
    got = f"but got {shown(list(values))}"
    if hint == NUMBERS:
        if not all(map(_is_number, values)):
            raise UserError(f"{origin}: {name} must list numbers, {got}")
    elif not all(isinstance(item, str) for item in values):
        raise UserError(f"{origin}: {name} must list names, {got}; quote numbers")
