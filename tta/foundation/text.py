"""Text that others wrote, made harmless wherever it is shown."""

from __future__ import annotations

import re
from typing import Any

_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # controls: escape sequences of terminals, lone carriage returns
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # marks that turn the direction of reading
    "\u2028\u2029\ufeff\ufffe\uffff"  # line ends of some programs; no characters
    "\ud800-\udfff]"  # halves of characters, which no file can hold
)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_LINK = re.compile(r"\](?=[(\[:])")


def printable(text: str) -> str:
    r"""Return text with what a terminal would obey, or nobody would see, written as ``\x1b``."""
    return _UNSEEN.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def printable_lines(text: str) -> str:
    """Return :func:`printable` text that keeps its line ends."""
    return "\n".join(map(printable, text.split("\n")))


def printable_values(value: Any) -> Any:
    """Return plain values, such as those of JSON, with all their text :func:`printable`."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {printable_values(name): printable_values(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [printable_values(item) for item in value]
    return value


def csv_cell(value: Any) -> Any:
    """Return a cell that no spreadsheet takes for a formula; numbers stay as they are.

    Text that starts like one gets an apostrophe in front, which spreadsheets do not show.
    """
    if not isinstance(value, str):
        return value
    text = printable(value)
    is_formula = text.lstrip().startswith(_FORMULA) and not _NUMBER.fullmatch(text.strip())
    return f"'{text}" if is_formula else text


def from_csv_cell(text: Any) -> Any:
    """Return the text that :func:`csv_cell` was given, but for what is not printable."""
    return text[1:] if isinstance(text, str) and csv_cell(text[1:]) == text else text


def markdown_text(text: str) -> str:
    """Return text for Markdown on one line: no HTML, no link, no column of its own.

    Names with underscores and figures such as ``<0.001`` need no escape and get none.
    """
    text = printable(" ".join(text.split())).replace("\\", "\\\\").replace("|", "\\|")
    return _LINK.sub("\\\\]", _TAG.sub("\\\\<", text))


def shown(value: Any) -> str:
    """Return a value as messages show it: cut short where it is long."""
    text = "a number of more digits than can be shown" if is_huge(value) else repr(value)
    return text if len(text) <= 120 else f"{text[:100]}..."


def is_huge(value: Any) -> bool:
    """Return whether a value is a whole number that no float holds; it takes long to be read."""
    return isinstance(value, int) and value.bit_length() > 1000
