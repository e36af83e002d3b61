"""Steps of methods here beside those of a checkout of mariodoebler/test-time-adaptation.

    git clone https://github.com/mariodoebler/test-time-adaptation
    python benchmarks/peer.py test-time-adaptation             # about 6 minutes; results/peer.md
    python benchmarks/peer.py test-time-adaptation --only tent rmt --compile  # compiled, too

Both run in one process, in rotated order, on the same network of random weights and the same
images; ratios are medians over rounds. Theirs runs as it is written, in the layout of its loader;
ours in channels-last, as runs on a CPU are by default. Nothing of the checkout is part of this
repository.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median

import torch
from timing.compiled import compiled
from timing.measure import interleave, machine, ratio
from timing.subjects import Subject, subject
from timing.toolbox import Toolbox

from tta.foundation.errors import UserError
from tta.foundation.files import write_atomically
from tta.reporting.tables import markdown

OUTPUT = Path("results/peer.md")
METHODS = (
    "source bn bn_alpha bn_ema lame tent rpl eata sar deyo roid cmf santa rotta gtta rmt".split()
)
OURS, THEIRS, COMPILED = "here", "theirs", "compiled"


def main() -> int:
    """Time the methods, print each row as it is made, and write the table where it is whole."""
    options = _options()
    torch.set_num_threads(options.threads)
    try:
        box = Toolbox(options.folder)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    case = subject(options.backbone, options.batch)
    cases = {OURS: case, **({COMPILED: compiled(case)} if options.compile else {})}
    rows = []
    for name in options.only or METHODS:
        rows.append([name, *_row(box, name, cases, options)])
        print(" | ".join(rows[-1]), flush=True)
    if not options.only:
        write_atomically(OUTPUT, _report(cases, rows, options))
        print(f"wrote {OUTPUT}")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="the checkout")
    parser.add_argument("--only", nargs="+", choices=METHODS, help="print these rows alone")
    parser.add_argument("--backbone", default="cifar_resnet20")
    parser.add_argument("--batch", type=int, default=200)
    parser.add_argument("--compile", action="store_true", help="ours compiled as well")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    return parser.parse_args()


def _row(
    box: Toolbox, name: str, cases: Mapping[str, Subject], options: argparse.Namespace
) -> Sequence[str]:
    """Return the cells of a method: milliseconds and ratios, or why there are none."""
    case = cases[OURS]
    calls = {label: _step(one, name) for label, one in cases.items()}
    try:
        calls[THEIRS] = box.step(name, case.backbone, case.images)
        samples = interleave(calls, rounds=options.rounds)
    except (RuntimeError, TypeError, ValueError, AttributeError, KeyError) as error:
        reason = f"theirs does not run: {type(error).__name__}: {error}".splitlines()[0]
        return [*[""] * (2 * len(cases)), reason]
    times = [f"{1e3 * median(samples[label]):.0f}" for label in (*cases, THEIRS)]
    return [*times, *(f"{ratio(samples, label, THEIRS):.2f}" for label in cases)]


def _step(case: Subject, name: str) -> Callable[[], object]:
    method = case.method(name)
    return lambda: method.step(case.images)


def _report(
    cases: Mapping[str, Subject], rows: list[list[str]], options: argparse.Namespace
) -> str:
    header = ["method", *(f"{label}, ms" for label in (*cases, THEIRS))]
    header += [f"{label} / {THEIRS}" for label in cases]
    return (
        "# Steps beside those of mariodoebler/test-time-adaptation\n\n"
        "`python benchmarks/peer.py test-time-adaptation`\n\n"
        f"{machine()}. {cases[OURS].title}; random weights, synthetic images, every sample passes "
        f"the filters; {options.rounds} interleaved rounds, medians.\n\n"
        + markdown(header, rows)
        + "\n"
    )


if __name__ == "__main__":
    raise SystemExit(main())
