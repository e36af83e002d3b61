"""Which of the recorded runs a command shows: the same options for every command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tta.commands.cli import given_path
from tta.foundation.errors import UserError, did_you_mean
from tta.foundation.text import printable

if TYPE_CHECKING:
    from tta.reporting.records.runs import Run

FILTERS = {
    "methods": ("method", "title"),
    "dataset": ("dataset",),
    "scenario": ("scenario",),
}
"""Options, and the facts of a summary that a name in them may be."""


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add the argument ``runs``, and :func:`add_filters`."""
    parser.add_argument(
        "runs", nargs="+", type=given_path, help="run directories, or folders of them"
    )
    add_filters(parser)


def add_filters(parser: argparse.ArgumentParser) -> None:
    """Add the options of :func:`chosen_runs`."""
    group = parser.add_argument_group("which runs")
    group.add_argument("--methods", metavar="A,B", help="only runs of these methods")
    group.add_argument("--dataset", metavar="A,B", help="only runs on these data sets")
    group.add_argument("--scenario", metavar="A,B", help="only runs in these scenarios")


def chosen_runs(paths: Sequence[Path], options: argparse.Namespace) -> tuple[list[Run], list[str]]:
    """Return the runs below some paths that the filters let pass, and what was left out.

    What was left out is named on standard error too.

    Args:
        paths: run directories, or folders of them.
        options: with the attributes of :data:`FILTERS`; None lets everything pass.

    Raises:
        UserError: see :func:`tta.reporting.records.finding.find_runs`; a filter names what no run
            has, or together they let none pass.
    """
    from tta.reporting.records.finding import (
        find_runs,  # late: parsers are made without numpy and torch
    )

    runs, left_out = find_runs(paths)
    for line in left_out:
        print(printable(f"left out {line}"), file=sys.stderr)
    return chosen(runs, {name: getattr(options, name) for name in FILTERS}), left_out


def chosen(runs: Sequence[Run], filters: dict[str, str | None]) -> list[Run]:
    """Return the runs that all filters let pass; see :func:`chosen_runs`."""
    passing = list(runs)
    given = {name: text for name, text in filters.items() if text is not None}
    for name, text in given.items():
        facts = FILTERS[name]
        wanted = _names(name, text, {run.summary[fact] for run in runs for fact in facts})
        passing = [run for run in passing if wanted & {run.summary[fact] for fact in facts}]
    if not passing:
        words = " ".join(f"--{name} {text}" for name, text in given.items())
        raise UserError(f"no run has all of {words}; leave one of them out")
    return passing


def _names(option: str, text: str, known: set[str]) -> set[str]:
    """Return the names in a list; one with a comma in it may stand alone."""
    names = [text] if text in known else [name.strip() for name in text.split(",")]
    if option == "scenario" and "+" in text:
        from tta.streams import one_name  # late: parsers are made without numpy

        names = [name if name in known else one_name(name) for name in names]
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known)
            raise UserError(f"--{option} names {name!r}, of which there is no run; {hint}")
    return set(names)
