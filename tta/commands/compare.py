"""Put runs of one protocol side by side: methods by domains, cost, calibration, paired tests.

usage examples:
  python -m tta.compare results/runs --baseline source
  python -m tta.compare RUN_A RUN_B --metric accuracy --format latex > table.tex
  python -m tta.compare results/runs --split --published
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from tta.commands.cli import Parser, given_path, guarded
from tta.commands.selection import add_run_options, chosen_runs
from tta.foundation.errors import UserError, did_you_mean
from tta.foundation.inputs import is_file
from tta.foundation.terminal import output_width
from tta.reporting.records.run_folders import check_run_folders
from tta.sweeps.publications import FIGURES

FORMATS = ("markdown", "latex", "html", "csv", "json")
TABLES = ("errors", "open_set", "segmentation", "protocol", "cost", "tests")


@guarded
def main(arguments: Sequence[str] | None, prog: str) -> int:
    """Parse the command line, print the comparison, and return the exit status."""
    options = parser(prog).parse_args(arguments)
    _check(options)
    from tta.reporting.comparing import formats
    from tta.reporting.comparing.comparison import compare
    from tta.reporting.comparing.published import read_published

    published = read_published(options.published) if options.published else None
    runs, left_out = chosen_runs(options.runs, options)
    comparisons = compare(runs, options.baseline, options.split)
    if options.format == "csv":
        print(formats.render_csv(comparisons))
    elif options.format == "json":
        print(formats.render_json(comparisons, left_out, published))
    else:
        tables = [
            table
            for comparison in comparisons
            for table in formats.tables(comparison, options.tables, options.metric, published)
        ]
        width = None if options.wide else output_width()
        print(formats.render_tables(tables, options.format, width))
    return 0


def _check(options: argparse.Namespace) -> None:
    for name in options.tables:
        if name not in TABLES:
            raise UserError(f"--tables has no table {name!r}; {did_you_mean(name, TABLES)}")
    check_run_folders(options.runs)
    if options.published and not is_file(options.published, "--published"):
        raise UserError(f"no file {str(options.published)!r}; --published names a CSV file")
    if options.published and options.format == "csv":
        raise UserError("--published has no CSV form; choose --format json, or markdown to read")


def parser(prog: str) -> Parser:
    """Return the parser of this command."""
    made = Parser(prog=prog, description=__doc__)
    add_run_options(made)
    made.add_argument(
        "--metric", choices=("error", "accuracy"), default="error", help="figure to show"
    )
    made.add_argument("--baseline", metavar="METHOD", help="show differences to this method")
    made.add_argument(
        "--split",
        action="store_true",
        help="put runs of unlike protocols into tables of their own instead of refusing them",
    )
    made.add_argument("--format", choices=FORMATS, default="markdown", help="of the output")
    made.add_argument(
        "--tables",
        type=lambda text: tuple(text.split(",")),
        default=TABLES,
        metavar="A,B",
        help=f"which of {', '.join(TABLES)} to show (default: all)",
    )
    made.add_argument(
        "--wide", action="store_true", help="fold no table that is wider than the terminal"
    )
    made.add_argument(
        "--published",
        nargs="?",
        type=given_path,
        const=FIGURES,
        metavar="FILE",
        help="put published figures beside ours (default: the papers', as shipped)",
    )
    return made
