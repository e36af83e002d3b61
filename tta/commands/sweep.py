"""Run a grid of methods, data sets, scenarios, backbones, seeds and parameters.

Cells that are finished are not run again; one that fails does not stop the others. A grid with a
cell that cannot run, such as an unknown method, is refused before anything is run.

Example of a grid file:
  num_samples: 200                 # options of every run, as in --config
  grid:                            # or a list of such mappings
    method: [tent, rmt]
    scenario: [continual, mixed_domains]
    seed: [1, 2, 3]
    set.lr: [0.001, 0.0001]        # a hyper-parameter

Examples:
  python -m tta.sweep grid.yaml --dry-run
  python -m tta.sweep grid.yaml --workers 2
  python -m tta.sweep grid.yaml --executor ray --address auto --gpus-per-cell 0.5
  python -m tta.sweep grid.yaml --select all       # hyper-parameters as a user could choose them
"""

from __future__ import annotations

import argparse
import contextlib
import math
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

from tta.commands.choices import HELP, add_select_options, notes_of, print_choices, with_rules
from tta.commands.cli import EXIT_BAD_INPUT, Parser, given_path, guarded
from tta.foundation.errors import UserError
from tta.foundation.files import write_atomically
from tta.foundation.stops import Stopped, listening
from tta.foundation.text import printable, printable_lines
from tta.foundation.waiting import choose_waiting
from tta.sweeps.cells import Outcome
from tta.sweeps.gpus import usual_workers
from tta.sweeps.grid import Cell, read_grid

EXIT_FAILED_CELLS = 1


@guarded
def main(arguments: Sequence[str] | None, prog: str) -> int:
    """Parse the command line, run the grid, and return the exit status."""
    options = parser(prog).parse_args(arguments)
    cells, rules = with_rules(read_grid(options.grid), options)
    options.workers = min(options.workers or usual_workers(cells), len(cells))
    if options.dry_run:
        return _dry_run(cells, options.workers)
    outcomes: list[Outcome] = []
    with listening() as stops:
        try:
            _collect(cells, options, outcomes)
        except KeyboardInterrupt as stop:
            stops.end()
            stop = stop if isinstance(stop, Stopped) else Stopped()
            line = f"stopped by {stop.name}; the same command goes on with what is missing"
            print(line, file=sys.stderr)
            return stop.status
    notes = notes_of(options)
    status = _conclude(outcomes, options.grid.with_suffix(".errors.txt"), notes)
    if rules:
        print(file=notes)
        print_choices(outcomes, cells, rules, options.format)
    return status


def _collect(cells: Sequence[Cell], options: argparse.Namespace, outcomes: list[Outcome]) -> None:
    """Run the cells, and show and keep every outcome as it comes."""
    with contextlib.closing(_execute(cells, options)) as ended:
        for outcome in tqdm(ended, total=len(cells), unit="cell", disable=None):
            tqdm.write(printable(_line(outcome)), file=notes_of(options))
            outcomes.append(outcome)


def parser(prog: str) -> Parser:
    """Return the parser of this command."""
    made = Parser(prog=prog, description=__doc__ + HELP)
    made.add_argument("grid", type=given_path, help="YAML file of the grid")
    made.add_argument("--dry-run", action="store_true", help="list the cells, and estimate")
    add_select_options(made)
    made.add_argument(
        "--no-share",
        action="store_true",
        help="make images for each run by itself; default: once for runs on one stream that memory "
        "has room for (with --executor ray: where --shared)",
    )
    made.add_argument("--executor", choices=("local", "ray"), default="local")
    made.add_argument(
        "--workers",
        type=_positive,
        metavar="N",
        help="local: processes, which share the cores, and take the GPUs in turn, one each; "
        "default: one per GPU where runs take GPUs, else one per core",
    )
    made.add_argument("--address", help="ray: the cluster; default: start one on this machine")
    made.add_argument(
        "--cpus-per-cell",
        type=_not_negative,
        default=1.0,
        metavar="N",
        help="ray: cores (default: 1)",
    )
    made.add_argument(
        "--gpus-per-cell",
        type=_not_negative,
        metavar="N",
        help="ray: GPUs; fractions share one; default: 1 for runs whose device is auto or cuda, "
        "where the cluster has any, else 0, and Ray hides GPUs that a run has not asked for",
    )
    made.add_argument(
        "--shared",
        action="store_true",
        help="ray: every machine sees the output folder; default: send finished runs here",
    )
    return made


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise UserError(f"--workers must be at least 1, but got {number}")
    return number


def _not_negative(text: str) -> float:
    number = float(text)
    if not 0 <= number < math.inf:
        raise UserError(f"--cpus-per-cell and --gpus-per-cell must be 0 or more, but got {number}")
    return number


_not_negative.__name__ = "number"  # argparse names it in "invalid number value"


def _execute(cells: Sequence[Cell], options: argparse.Namespace) -> Generator[Outcome, None, None]:
    if options.executor == "local":
        choose_waiting()  # workers, which begin without torch, have the variable from here
        from tta.sweeps.local import run_locally

        return run_locally(cells, options.workers, not options.no_share)
    from tta.sweeps.on_ray import Cluster, run_on_ray

    cluster = Cluster(options.address, options.cpus_per_cell, options.gpus_per_cell, options.shared)
    return run_on_ray(cells, cluster, not options.no_share)


def _line(outcome: Outcome) -> str:
    finished = outcome.finished
    if finished is None:
        return f"{outcome.cell.name}: failed"
    text = f"{outcome.cell.name}: {finished.headline}"
    text += " (finished before)" if finished.reused else ""
    text += " (collapsed)" if finished.collapsed else ""
    text += " (outputs not finite)" if finished.nonfinite else ""
    return text + (" (doubtful: see the warning in its record)" if finished.warned else "")


def _conclude(outcomes: Sequence[Outcome], log: Path, notes: TextIO) -> int:
    """Print the counts and the failures, and leave their tracebacks in ``log``."""
    failed = [outcome for outcome in outcomes if outcome.finished is None]
    reused = sum(outcome.finished.reused for outcome in outcomes if outcome.finished is not None)
    ran = len(outcomes) - len(failed) - reused
    counts = f"{ran} run, {reused} finished before, {len(failed)} failed"
    print(f"{len(outcomes)} cells: {counts}", file=notes)
    if not failed:
        log.unlink(missing_ok=True)
        return 0
    for outcome in failed:
        line = f"failed: {outcome.cell.name}: {outcome.error}"
        print(printable(line), file=sys.stderr)
    text = "\n".join(f"{item.cell.name}: {item.error}\n{item.details}" for item in failed)
    try:
        write_atomically(log, printable_lines(text))
        where = str(log)
    except OSError as error:
        where = f"not kept, {str(log)!r} cannot be written ({error.strerror})"
    print(f"tracebacks: {where}; the same command runs these cells again", file=sys.stderr)
    return EXIT_FAILED_CELLS


def _dry_run(cells: Sequence[Cell], workers: int) -> int:
    """List the cells; return 2 where one is refused, 1 where one fails otherwise, else 0."""
    from tta.sweeps.estimate import estimates

    total, status = 0.0, 0
    for estimate in tqdm(estimates(cells), total=len(cells), unit="cell", disable=None):
        seconds = estimate.seconds
        total += seconds or 0.0
        if seconds is None:
            status = max(status, EXIT_BAD_INPUT if estimate.refused else EXIT_FAILED_CELLS)
        shown = "" if not seconds else f", about {seconds:.0f} s"
        tqdm.write(printable(f"{estimate.cell.name}: {estimate.status}{shown}"))
    print(
        f"{len(cells)} cells, about {total:.0f} s of work, {total / workers:.0f} s on {workers} "
        "local workers if each were as fast as this process; less where runs share a stream"
    )
    return status
