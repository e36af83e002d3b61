"""Put several runs into one Markdown table: methods by domains.

usage examples:
  python -m tta.compare results/runs
  python -m tta.compare RUN_A RUN_B --metric accuracy
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from tta.cli import Parser, guarded


@guarded
def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, print the comparison, and return the exit status."""
    parser = Parser(
        prog="python -m tta.compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", nargs="+", type=Path, help="run directories, or folders of them")
    parser.add_argument(
        "--metric", choices=("error", "accuracy"), default="error", help="figure to show"
    )
    parser.add_argument(
        "--split",
        action="store_true",
        help="put runs of unlike streams into tables of their own instead of refusing them",
    )
    options = parser.parse_args(arguments)
    from tta.reporting.comparison import comparison, find_runs

    print(comparison(find_runs(options.runs), options.metric, options.split))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
