"""results/versions.md: a table, and below it what is too long for one; written and read back."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

from tta.reporting.tables import markdown

MAIN = ("-m", "tta.run", "--method", "rmt", "--scenario", "continual")
SHOWN = ("torch", "timm", "numpy", "pandas")
TABLE = ("environment", "tried", "Python", *SHOWN, "error %", "passed")
BELOW = ("others", "tests")
"""What a line below the table says of an environment, too long for a column."""
COLUMNS = tuple(name for name in TABLE if name != "passed") + BELOW
_SEPARATOR = "; tests:"
_WIDTH = 100
HEAD = f"""# Versions

`python benchmarks/versions.py`

A row is a virtual environment of its own with every extra. `lowest` has every lower
bound of setup.cfg at once, `newest` what pip chose on the day it was tried, `middle` an older
torch under it. The error is that of `python {" ".join(MAIN)}`
with one thread on a CPU. Tests are the fast ones, or those that the line below the table
names; in them a deprecation that the package's own code causes is an error.
"""

Row = dict[str, str]


def render(rows: Sequence[Row]) -> str:
    """Return the text of results/versions.md: a table, and below it a line per environment."""
    shown = [row | {"passed": _passed(row["tests"])} for row in rows]
    table = markdown(list(TABLE), [[row[name] for name in TABLE] for row in shown])
    return f"{HEAD}\n{table}\n\n{''.join(map(_below, rows))}"


def _below(row: Row) -> str:
    others, tests = (row[name] for name in BELOW)
    line = f"- `{row['environment']}`: {others}{_SEPARATOR} {tests}"
    whole = {"break_on_hyphens": False, "break_long_words": False}
    return textwrap.fill(line, _WIDTH, subsequent_indent="  ", **whole) + "\n"


def _passed(tests: str) -> str:
    found = re.match(r"(?:\d+ failed, )?(\d+) passed", tests)
    return found[1] if found else ""


def read_rows(text: str) -> dict[str, Row]:
    """Return the rows of a text that was rendered, by name; none where its columns differ."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    cells = [[_unescaped(cell) for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    if not cells or tuple(cells[0]) != TABLE:
        return {}
    below = dict(re.findall(r"^- `(.+?)`: (.*)$", text.replace("\n  ", " "), re.MULTILINE))
    rows = {}
    for name, *others in cells[2:]:
        row = dict(zip(TABLE, [name, *others], strict=True))
        row |= zip(BELOW, map(str.strip, below[name].split(_SEPARATOR, 1)), strict=True)
        rows[name] = {column: row[column] for column in COLUMNS}
    return rows


def _unescaped(cell: str) -> str:
    return re.sub(r"\\(.)", r"\1", cell.strip())
