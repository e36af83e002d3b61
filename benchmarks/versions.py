"""The oldest and the newest packages and Pythons that setup.cfg promises, tried one by one.

    python benchmarks/versions.py [--only NAME ...] [--tests "WORDS OF PYTEST"] [--keep FOLDER]

makes a virtual environment per row with the committed code and its tests, runs the main command
with one thread and the fast tests in it, and writes results/versions.md after each. Rows that are
not asked for stay as they are. A Python is found by its name, as `python3.10`. An environment
takes minutes to make and some GB of disk until its row is written; with `--keep` it stays, and the
next command with the same folder goes on from it. Status 1 where a row failed.
"""

from __future__ import annotations

import argparse
import shlex
import signal
from pathlib import Path

from trials.page import render
from trials.rows import SETTINGS, environments, has_failed, update

OUTPUT = Path("results/versions.md")


def main() -> int:
    """Try the environments that are asked for and print their rows; return the exit status."""
    names = [environment.name for environment in environments(SETTINGS)]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--tests", default="", help="what to give pytest; default all fast tests")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where environments stay")
    options = parser.parse_args()
    # What is started in the background ignores Ctrl-C, and tests of it would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    rows = update(options.only, OUTPUT, shlex.split(options.tests), options.keep)
    print(render(rows))
    return 1 if any(map(has_failed, rows)) else 0


if __name__ == "__main__":
    raise SystemExit(main())
