"""The one exception that a user is meant to read."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from tta.foundation.text import printable

WRONG_VALUES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    RuntimeError,  # RecursionError among them
    TypeError,
    ValueError,
)
"""What code raises that takes values for what they should be, and they are not."""


class UserError(Exception):
    """Bad input: the message says what is wrong, what was expected and how to mend it.

    The commands print it on one line and exit with status 2.
    """


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the names nearest to ``name`` as a hint, or all names where none is near."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if near:
        return f"did you mean {' or '.join(repr(match) for match in near)}?"
    return f"known: {', '.join(known)}"


def message_of(error: BaseException) -> str:
    """Return the message of an error on one line, as a terminal may show it; else its kind."""
    return printable(" ".join(str(error).split())) or type(error).__name__
