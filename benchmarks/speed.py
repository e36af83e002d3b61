"""Time and memory of every method and operation, beside the targets; on a CPU.

    python benchmarks/speed.py                      # about 13 minutes; writes results/speed.md
    python benchmarks/speed.py --only ops harness   # some sections, printed alone
    python benchmarks/speed.py --profile rmt        # a torch profiler trace of three steps

Weights are random and images synthetic. What is compared runs interleaved in one process, in
rotated order; ratios are medians over rounds.
"""

from __future__ import annotations

import argparse

from timing.cpu import OUTPUT, SECTIONS, report, write_trace

from tta.methods import METHODS


def main() -> None:
    """Measure, print, and write the report where it is whole."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=SECTIONS, help="print these sections alone")
    parser.add_argument("--profile", metavar="METHOD", choices=list(METHODS), help="write a trace")
    options = parser.parse_args()
    if options.profile:
        print(f"wrote {write_trace(options.profile)}")
        return
    text = report(options.only or list(SECTIONS))
    if not options.only:
        OUTPUT.parent.mkdir(exist_ok=True)
        OUTPUT.write_text(text)
        print(f"wrote {OUTPUT}")


if __name__ == "__main__":
    main()
