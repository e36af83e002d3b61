"""Tables that fit a terminal: columns that find no room go into further tables below."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from itertools import zip_longest

from tta.foundation.text import markdown_text
from tta.reporting.tables import aligned, markdown

Column = list[list[str]]
"""The lines of every cell, the header's first."""


def folded(
    header: list[str], rows: list[list[str]], width: int, parts: Sequence[Sequence[int]] = ()
) -> str:
    """Return a table of at most so many characters in a line, or several below each other.

    Every table starts with the first column. Cells that are too wide are wrapped.

    Args:
        header: names of the columns.
        rows: text.
        width: at least 60.
        parts: numbers of columns that belong together: where the table is folded, each part starts
            a table, in this order. None: all columns in their order.
    """
    whole = markdown(header, rows)
    if len(whole.partition("\n")[0]) <= width:
        return whole
    first, *others = zip(header, *rows, strict=True)
    names = _wrapped(first, 2 * width // 5)
    room = width - _size(names) - len("|  |")
    columns = [names, *(_wrapped(cells, room - len(" | ")) for cells in others)]
    chunks = [
        chunk
        for part in parts or [range(1, len(header))]
        for chunk in _chunks([(number, _size(columns[number])) for number in part], room)
    ]
    return "\n\n".join(_table([names, *(columns[number] for number in chunk)]) for chunk in chunks)


def _wrapped(cells: Sequence[str], limit: int) -> Column:
    return [textwrap.wrap(cell, limit, break_on_hyphens=False) or [""] for cell in cells]


def _size(column: Column) -> int:
    return max(3, *(len(markdown_text(line)) for cell in column for line in cell))


def _chunks(sizes: Sequence[tuple[int, int]], room: int) -> Iterator[list[int]]:
    """Yield the numbers of columns, given with their sizes, that find room beside each other."""
    chunk: list[int] = []
    used = 0
    for number, size in sizes:
        needed = size + len(" | ")
        if chunk and used + needed > room:
            yield chunk
            chunk, used = [], 0
        chunk.append(number)
        used += needed
    if chunk:
        yield chunk


def _table(columns: list[Column]) -> str:
    head, *rows = [
        [list(line) for line in zip_longest(*cells, fillvalue="")]
        for cells in zip(*columns, strict=True)
    ]
    return "\n".join(aligned(head, [line for row in rows for line in row]))
