"""Speed beside other programs, by how torch's threads wait for each other; on a CPU.

    python benchmarks/busy.py                               # 8 minutes; writes results/busy.md
    python benchmarks/busy.py --only digits --neighbours 2  # one row; others stay as they are

Neighbours are programs that never rest, as many as the row says. Each policy has its process; they
take turns, in rotated order, and medians are over rounds.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from timing.busy import NETS, POLICIES, measure, row, serve
from timing.measure import machine

from tta.reporting.tables import markdown

OUTPUT = Path("results/busy.md")
COUNTS = (0, 1, 2)
RATIOS = ("chosen / as OpenMP has it", "chosen / passive")
CELLS = "Images per second; in brackets, how many cores were used. Ratios are of images per second."
HEADER = ["what", "neighbours", *POLICIES, *RATIOS]


def main() -> None:
    """Measure rows, and write the page after each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=NETS, default=list(NETS), help="these alone")
    parser.add_argument("--neighbours", nargs="+", type=int, choices=COUNTS, default=COUNTS)
    parser.add_argument("--rounds", type=int, default=3, help="of every row (default: 3)")
    parser.add_argument("--serve", choices=NETS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    for net in options.only:
        for count in options.neighbours:
            rows = {**_kept(), (NETS[net], str(count)): None}
            rows[NETS[net], str(count)] = row(net, count, measure(net, count, options.rounds))
            OUTPUT.write_text(_page(rows))
            print(markdown(HEADER, [rows[NETS[net], str(count)]]), flush=True)


def _kept() -> dict[tuple[str, str], list[str]]:
    """Return the rows of the page that is there, by network and number of neighbours."""
    if not OUTPUT.exists():
        return {}
    lines = [line for line in OUTPUT.read_text().splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {(one[0], one[1]): one for one in cells if one[0] in NETS.values()}


def _page(rows: dict[tuple[str, str], list[str]]) -> str:
    wanted = [(net, str(count)) for net in NETS.values() for count in COUNTS]
    shown = markdown(HEADER, [rows[key] for key in wanted if key in rows])
    command = " ".join(["python benchmarks/busy.py", *sys.argv[1:]])
    head = f"# Busy machines\n\n`{command}`\n\n{machine()}."
    return f"{head}\n\n{CELLS}\n\n{shown}\n"


if __name__ == "__main__":
    main()
