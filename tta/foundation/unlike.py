"""What differs between mappings of plain values."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def unlike(mappings: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return the names that have not the same value in all mappings, with the value in each.

    A name that is missing has the value None; a tuple is the same as a list.

    Args:
        mappings: plain values by name.

    Returns:
        by name, in order of appearance, the values in order of the mappings.
    """
    names = dict.fromkeys(name for mapping in mappings for name in mapping)
    values = {name: [mapping.get(name) for mapping in mappings] for name in names}
    return {name: found for name, found in values.items() if len(distinct(found)) > 1}


def distinct(values: Iterable[Any]) -> list[Any]:
    """Return the first of each, in order of appearance."""
    first: dict[str, Any] = {}
    for value in values:
        first.setdefault(as_text(value), value)
    return list(first.values())


def as_text(value: Any) -> str:
    """Return a text that is the same for values that count as the same."""
    return json.dumps(value, default=str, skipkeys=True)
