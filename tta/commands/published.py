"""Our figures beside those of the papers, one table at a time.

Examples:
  python -m tta.published cifar10c_continual
  python -m tta.published my_table.yaml --data-dir /data

This runs every method that has a figure in the table and is registered here, prints its figure, the
published one and the difference, and writes results/published/TABLE.md. Data and weights lie below
--data-dir, by default $TTA_DATA_DIR; where anything is missing, all that is missing is named before
anything runs. Finished runs are not run again, so an interrupted table goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tta.commands.cli import Parser, guarded
from tta.foundation.files import write_atomically
from tta.sweeps.publications import table_file, table_names

OUTPUT = Path("results/published")


@guarded
def main(arguments: Sequence[str] | None, prog: str) -> int:
    """Make the tables and return the exit status."""
    options = parser(prog).parse_args(arguments)
    files = {name: table_file(name) for name in options.tables}
    for name, path in files.items():
        file = _make(name, path, options.data_dir)
        print(f"wrote {file}")
    return 0


def parser(prog: str) -> Parser:
    """Return the parser of this command."""
    made = Parser(prog=prog, description=__doc__)
    names = f"one of {', '.join(table_names())}, or a file of your own"
    made.add_argument("tables", nargs="+", metavar="TABLE", help=names)
    made.add_argument("--data-dir", metavar="DIR", help="default: $TTA_DATA_DIR")
    return made


def _make(name: str, path: Path, data_dir: str | None) -> Path:
    """Run a table, print it, and return the file that it is written to."""
    from tta.sweeps.publications.missing import missing, refusal
    from tta.sweeps.publications.rendering import render
    from tta.sweeps.publications.table import read_table, table_rows

    table = read_table(path)
    rows = table_rows(table, data_dir, repr(name))
    faults = missing([row.configs[0] for row in rows if row.configs], table.weights_from)
    if faults:
        raise refusal(name, faults)
    text = render(table, rows, name)
    file = OUTPUT / f"{path.stem}.md"
    write_atomically(file, text)
    print(text)
    return file
