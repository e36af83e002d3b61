"""``tta sweep --select``: its options, and the tables that it prints once a grid has been run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from tta.commands.cli import Parser, given_text
from tta.foundation.terminal import output_width
from tta.sweeps.cells import Outcome
from tta.sweeps.grid import Cell
from tta.sweeps.tuning.rules import Rule, meanings, parse_rules, with_needs

_BEFORE = """
Rules of --select choose among the hyper-parameters (set.NAME) of a grid, for each method, data set
and scenario, over all its seeds; ties go to the earliest in the grid. Printed are the choice, its
figure, and how far it is from the best there is, which takes every label to find.
"""
_AFTER = """
  all          all of these, with labels:100; transfer where there are several data sets
Runs record what rules need (--evidence, --probe); those finished without it are run again.
"""
_RULES = [f"  {name:<12} {meaning}" for name, meaning in meanings().items()]
HELP = _BEFORE + "\n".join(_RULES) + _AFTER


def add_select_options(parser: Parser) -> None:
    """Add ``--select`` and ``--format``."""
    parser.add_argument(
        "--select",
        type=given_text,
        metavar="RULE,RULE",
        help="when the grid has been run, choose hyper-parameters by these rules, see above",
    )
    parser.add_argument(
        "--format",
        choices=("markdown", "csv", "json"),
        default="markdown",
        help="of what --select prints (default: markdown); with csv and json, all else goes to "
        "standard error",
    )


def with_rules(cells: Sequence[Cell], options: argparse.Namespace) -> tuple[list[Cell], list[Rule]]:
    """Return the cells with what the rules of ``--select`` need recorded, and these rules.

    Raises:
        UserError: there is no such rule, or the grid has nothing for it.
    """
    if options.select is None:
        return list(cells), []
    rules = parse_rules(options.select, len({cell.config.dataset for cell in cells}))
    return [replace(cell, config=with_needs(cell.config, rules)) for cell in cells], rules


def notes_of(options: argparse.Namespace) -> TextIO:
    """Return where lines about cells go: what programs read has standard output for itself."""
    return sys.stdout if options.format == "markdown" else sys.stderr


def print_choices(
    outcomes: Sequence[Outcome], cells: Sequence[Cell], rules: Sequence[Rule], form: str
) -> None:
    """Print what the rules choose among the runs of a grid.

    Args:
        outcomes: in any order.
        cells: in the grid's order.
        rules: see :func:`with_rules`.
        form: ``markdown``, ``csv`` or ``json``.
    """
    from tta.reporting.records.runs import Run
    from tta.sweeps.tuning.grouping import group_runs
    from tta.sweeps.tuning.tables import render

    runs = {
        outcome.cell.name: Run.load(Path(outcome.cell.config.output, outcome.finished.path))
        for outcome in outcomes
        if outcome.finished is not None
    }
    groups = group_runs((cell.config, runs.get(cell.name)) for cell in cells)
    print(render(groups, rules, form, cells[0].config.metric, output_width()))
