"""What is wrong with a class that should be a method."""

from __future__ import annotations

import dataclasses
from typing import Any

WANTED = "subclass of tta.methods.Method"


def flaw_of_method(found: Any) -> str | None:
    """Return why an object is no whole method class, with the cure, or None."""
    from tta.methods.base import Method

    if not (isinstance(found, type) and issubclass(found, Method)):
        return f"is no {WANTED}"
    if not isinstance(getattr(found, "name", None), str):
        return f"has no name; give it one, such as name = {found.__name__.lower()!r}"
    if not dataclasses.is_dataclass(found.Params):
        return "has Params that are no dataclass; put @dataclass(frozen=True) above them"
    return None
