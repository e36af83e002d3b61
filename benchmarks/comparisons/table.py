"""One table of results/: its runs, and its text."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tta.config import RunConfig
from tta.methods import METHODS
from tta.reporting.comparing import comparison_tables as printed
from tta.reporting.comparing.comparison import Comparison, compare
from tta.reporting.comparing.formats import render_tables, tables
from tta.reporting.records.runs import Run
from tta.sweeps.grid import Cell

from .data import ASSETS


@dataclass(frozen=True)
class Table:
    """One table: a title, its methods, and the options that their runs share.

    Attributes:
        title: heading.
        rows: a method each, or a name of ``extra``.
        options: of every run, by field of RunConfig; ``$TTA_TEST_ASSETS`` stands for its value.
        extra: further options of some rows.
        seeds: of every row.
        note: what a reader must know beside the protocol.
        compact: show means and what the protocol adds in one table, instead of domains and tests.
    """

    title: str
    rows: tuple[str, ...]
    options: dict[str, Any]
    extra: dict[str, dict[str, Any]] = field(default_factory=dict)
    seeds: tuple[int, ...] = (1,)
    note: str = ""
    compact: bool = False

    @property
    def needs_assets(self) -> bool:
        """Whether data from outside the package is read."""
        return any(ASSETS in str(value) for value in self.options.values())

    def cells(self, assets: str) -> list[Cell]:
        """Return the configuration of every run."""
        shared = {name: _resolved(value, assets) for name, value in self.options.items()}
        return [
            Cell(
                f"{self.title}: {row}, seed {seed}",
                RunConfig(
                    **{"method": row, "seed": seed, **shared, **self.extra.get(row, {})},
                    resume=True,
                ),
            )
            for seed in self.seeds
            for row in self.rows
        ]

    def render(self, runs: Sequence[Run], assets: str) -> str:
        """Return the section's text."""
        (compared,) = compare(runs)
        parts = [_compact(compared)] if self.compact else None
        parts = parts or tables(compared, ("errors", "cost", "tests"), "error")
        shown = render_tables(parts, "markdown")
        parts = [f"## {self.title}", f"`{self.command()}`", self.note, _defaulted(runs), shown]
        text = "\n\n".join(filter(None, parts)) + "\n"
        return text.replace(assets, ASSETS) if assets else text

    def command(self) -> str:
        """Return the command that each row was made with, METHOD standing for its name."""
        typed = {
            name: ",".join(value) if isinstance(value, tuple) else value
            for name, value in self.options.items()
        }
        flags = [f"--{name.replace('_', '-')} {value}" for name, value in typed.items()]
        return " ".join(["python -m tta.run --method METHOD", *flags])


def _compact(compared: Comparison) -> printed.Table:
    """Return means over domains, and what a protocol or unknown images add, in one table."""
    errors = printed.error_table(compared, "error")
    cells = errors.cells.drop(columns=["predicts", "source data", "seeds", "pooled", "rank"])
    cells = cells.drop(columns=list(errors.parts[1]))
    cells = cells.rename(columns={"mean": "error %"})
    protocol = printed.protocol_table(compared).cells.drop(columns="method")
    wanted = [name for name in protocol if name not in ("step cost", *RECOVERY)]
    if len(wanted) < 2:
        wanted += [name for name in RECOVERY if name in protocol]
    if any("unknown_images" in row.summary for row in compared.rows):
        protocol = printed.open_set_table(compared).cells.drop(columns="method")
        wanted = list(protocol)
    return printed.Table("protocol", cells.join(protocol[wanted]))


RECOVERY = ("recovery", "excess")
"""Headers of what every stream tells."""


def _defaulted(runs: Sequence[Run]) -> str:
    """Return which methods ran with their defaults, the preset of the data having no values."""
    summaries = [run.summary for run in runs]
    names = {s["method"] for s in summaries if s["preset"].startswith("the method's defaults")}
    tunable = sorted(name for name in names if dataclasses.fields(METHODS[name].Params))
    if not tunable:
        return ""
    return f"With the methods' defaults, for want of a preset: {', '.join(tunable)}."


def _resolved(value: Any, assets: str) -> Any:
    return value.replace(ASSETS, assets) if isinstance(value, str) else value
