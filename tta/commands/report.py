"""Write one self-contained page of recorded runs; it opens offline in any browser.

usage examples:
  python -m tta.report results/runs -o report.html
  python -m tta.report results/runs -o report.html --metric accuracy --baseline source
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tta.commands.cli import Parser, given_path, guarded
from tta.commands.selection import add_run_options, chosen_runs
from tta.foundation.errors import UserError
from tta.foundation.text import printable
from tta.reporting.records.run_folders import check_run_folders


@guarded
def main(arguments: Sequence[str] | None, prog: str) -> int:
    """Parse the command line, write the page, and return the exit status."""
    options = parser(prog).parse_args(arguments)
    check_run_folders(options.runs)
    if options.window < 1:
        raise UserError(f"--window must be at least 1, but got {options.window}")
    from tta.foundation.files import write_atomically
    from tta.reporting.comparing.comparison import compare
    from tta.reporting.page.content import section
    from tta.reporting.page.page import render_page

    runs, left_out = chosen_runs(options.runs, options)
    comparisons = compare(runs, options.baseline, split=True)
    sections = [section(comparison, options.window) for comparison in comparisons]
    page = render_page(sections, left_out, options.title, options.metric)
    try:
        write_atomically(options.output, page)
    except OSError as error:
        raise UserError(
            f"cannot write {str(options.output)!r} ({error.strerror}); choose another --output"
        ) from error
    print(f"wrote {printable(str(options.output))}: runs: {len(runs)}, tables: {len(comparisons)}")
    return 0


def parser(prog: str) -> Parser:
    """Return the parser of this command."""
    made = Parser(prog=prog, description=__doc__)
    add_run_options(made)
    made.add_argument(
        "-o",
        "--output",
        type=given_path,
        default=Path("report.html"),
        metavar="FILE",
        help="the page",
    )
    made.add_argument("--title", default="Test-time adaptation results", help="of the page")
    made.add_argument(
        "--metric", choices=("error", "accuracy"), default="error", help="shown at first"
    )
    made.add_argument(
        "--baseline", metavar="METHOD", help="test against this method, not against the best"
    )
    made.add_argument(
        "--window", type=int, default=10, metavar="N", help="batches of the running mean"
    )
    return made
