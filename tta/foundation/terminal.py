"""How wide what reads standard output is, and text that fits into it."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Sequence

LEAST = 60
"""No narrower than this, whatever the terminal's width."""


def output_width() -> int | None:
    """Return the columns of the terminal that standard output is; None for a file or a pipe.

    ``$COLUMNS`` goes over what the terminal says, and makes a terminal of a pipe.
    """
    given = os.environ.get("COLUMNS", "")[:6]
    if given.isdecimal() and int(given) > 0:
        return max(LEAST, int(given))
    return max(LEAST, shutil.get_terminal_size().columns) if sys.stdout.isatty() else None


def wrapped(text: str, width: int) -> str:
    """Return text in lines of at most so many characters; words stay whole where they can."""
    return "\n".join(textwrap.wrap(text, width, break_on_hyphens=False)) or text


def columns(rows: Sequence[tuple[str, ...]], width: int) -> list[str]:
    """Return rows of text in aligned columns, the last of which is wrapped.

    A first cell that is wider than a third of the lines stands in a line of its own.
    """
    if not rows:
        return []
    *firsts, _ = zip(*rows, strict=True)
    widths = [min(max(map(len, cells)), width // 3) for cells in firsts]
    lines = []
    for *cells, last in rows:
        start = "  ".join(cell.ljust(size) for cell, size in zip(cells, widths, strict=True))
        indent = " " * (sum(widths) + 2 * len(widths))
        if len(start) + 2 > len(indent):
            lines += textwrap.wrap(start.rstrip(), width, subsequent_indent="  ")
            start = indent[:-2]
        options = {"initial_indent": f"{start}  ", "subsequent_indent": indent}
        lines += textwrap.wrap(last, width, break_on_hyphens=False, **options) or [start.rstrip()]
    return lines
