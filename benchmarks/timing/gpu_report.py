"""A report that is written row by row, within a time; what fails is a row that says why."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tta.foundation.errors import UserError
from tta.reporting.tables import markdown

Row = list[str]
Unit = tuple[str, Callable[[], list[Row]]]
"""The first column of a row, and what measures the rows."""


@dataclass
class Part:
    """A table of the report.

    Attributes:
        title: its heading.
        header: its columns.
        share: of the whole time that it may take, with what earlier parts have left over.
        units: what is measured, one after the other.
        rows: what was found.
        notes: lines below the table.
    """

    title: str
    header: Row
    share: float
    units: Callable[[], Iterable[Unit]]
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def render(self) -> str:
        """Return heading, table and notes."""
        width = len(self.header)
        rows = [(row + [""] * width)[:width] for row in self.rows]
        lines = "".join(f"\n{note}\n" for note in self.notes)
        return f"## {self.title}\n\n{markdown(self.header, rows)}\n{lines}"


class Report:
    """Runs parts and writes what there is after every row.

    Args:
        path: of the report, or a folder that gets ``cuda_report.md``.
        heading: text above the tables.
        seconds: for everything.
    """

    def __init__(self, path: Path, heading: str, seconds: float) -> None:
        self.path = path / "cuda_report.md" if path.is_dir() or not path.suffix else path
        self.heading = heading
        self.seconds = seconds
        self.parts: list[Part] = []
        self._started = time.perf_counter()

    def run(self, parts: list[Part]) -> None:
        """Measure parts in their order; each may use what those before it have not used."""
        spent = 0.0
        for part in parts:
            spent += part.share
            self.parts.append(part)
            self._measure(part, self._started + spent * self.seconds)
            self.write()

    def write(self) -> None:
        """Write the report as it is; a kill leaves the one before it or this one, whole."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_suffix(".part")
        draft.write_text("\n".join([self.heading, *(part.render() for part in self.parts)]))
        os.replace(draft, self.path)

    def _measure(self, part: Part, deadline: float) -> None:
        units = list(part.units())
        for number, (label, call) in enumerate(units):
            if time.perf_counter() > deadline:
                missing = ", ".join(name for name, _ in units[number:])
                part.notes.append(f"Cut: the time for this part was over before {missing}.")
                return
            part.rows += attempt(label, call)
            self.write()


def attempt(label: str, call: Callable[[], list[Row]]) -> list[Row]:
    """Return the rows of ``call``, or one that says in a line why there are none."""
    try:
        return call()
    except UserError as error:
        return [[label, f"not measured: {one_line(error)}"]]
    except Exception as error:  # noqa: BLE001  the other rows are there all the same
        return [[label, f"failed: {type(error).__name__}: {one_line(error)}"]]


def one_line(error: Exception, length: int = 100) -> str:
    """Return the first line of a message."""
    return (str(error).strip().splitlines() or ["no message"])[0][:length]
