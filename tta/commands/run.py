"""Run one adaptation method over one stream and print its table.

Examples:
  python -m tta.run --method rmt --scenario continual
  python -m tta.run --method tent --dataset arrays:mine.npz --backbone resnet18 --weights w.pth
  python -m tta.run --method my_file.py:MyMethod --set lr=0.01
  python -m tta.run --list

Exit status: 0 for a finished run, 2 for bad input, 3 for a run with outputs that are not finite,
130 for one that was interrupted.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tta.commands.cli import (
    EXIT_NOT_FINITE,
    Parser,
    add_config_options,
    given_path,
    guarded,
    parse_settings,
)
from tta.config import RunConfig, read_yaml, with_settings
from tta.foundation.errors import UserError
from tta.foundation.stops import Stopped, listening
from tta.foundation.terminal import output_width
from tta.foundation.text import printable
from tta.foundation.waiting import choose_waiting

if TYPE_CHECKING:
    from tta.experiment.built import Experiment


@guarded
def main(arguments: Sequence[str] | None, prog: str) -> int:
    """Parse the command line, do what it asks for, and return the exit status."""
    options = vars(parser(prog).parse_args(arguments))
    show_list, show_params = options.pop("list"), options.pop("params")
    as_json, config_file = options.pop("json"), options.pop("config")
    quiet, wide = options.pop("quiet"), options.pop("wide")
    if show_list:
        from tta.commands.listing import short_lists

        print("\n".join(short_lists()))
        return 0
    config = _config(options, config_file)
    from tta.experiment.preflight import (  # NumPy, which --help needs not wait for
        check_method,
        preflight,
    )

    if show_params:
        check_method(config)
        from tta.commands.listing import list_width
        from tta.commands.parameters import parameter_lines

        print("\n".join(parameter_lines(config.method, list_width())))
        return 0
    preflight(config)
    return _run(config, as_json, quiet, None if wide else output_width())


def parser(prog: str) -> Parser:
    """Return the parser of this command."""
    made = Parser(prog=prog, description=__doc__)
    shows = made.add_argument_group("information")
    shows.add_argument("--list", action="store_true", help="show methods, datasets and scenarios")
    shows.add_argument(
        "--params", action="store_true", help="show the hyper-parameters of --method"
    )
    shows.add_argument("--json", action="store_true", help="print the summary as JSON")
    shows.add_argument(
        "--quiet", action="store_true", help="print no progress and no notes, only results"
    )
    shows.add_argument(
        "--wide",
        action="store_true",
        help="on a terminal too, print every visit of a domain and fold no table",
    )
    made.add_argument("--config", type=given_path, help="YAML file of options; flags go over it")
    add_config_options(made)
    return made


def _config(options: dict[str, Any], file: Path | None) -> RunConfig:
    values = read_yaml(file) if file else {}
    if "grid" in values:
        raise UserError(f"{str(file)!r} is a grid of runs; pass it to python -m tta.sweep")
    values = with_settings(values, parse_settings(options.pop("set", [])))
    origin = f"{str(file)!r}" if file else "the command line"
    return RunConfig.from_mapping({**values, **options}, origin)


def _run(config: RunConfig, as_json: bool, quiet: bool, width: int | None) -> int:
    experiment = None
    with listening() as stops:
        try:
            choose_waiting()  # before torch
            from tta.experiment.assembly import build
            from tta.experiment.execution import run_experiment

            experiment = build(config)
            _print_notes(experiment, quiet)
            summary = run_experiment(experiment, progress=not quiet, stops=stops)
        except KeyboardInterrupt as stop:
            stops.end()
            return _stopped(stop, experiment)
        except (MemoryError, RuntimeError) as error:
            if not _out_of_memory(error):
                raise
            raise UserError(
                "out of memory; use a smaller --batch-size or backbone, or --precision bf16"
            ) from error
    return _show(summary, config.metric, as_json, width)


def _show(summary: dict[str, Any], metric: str, as_json: bool, width: int | None) -> int:
    """Print a summary, and return the exit status that it calls for."""
    from tta.reporting.run_report import run_report
    from tta.tasks.finite import in_words

    for warning in summary.get("warnings", ()) if summary.get("reused") else ():
        print(printable(f"warning: {warning}"), file=sys.stderr)
    print(json.dumps(summary, indent=2) if as_json else run_report(summary, metric, width))
    if summary.get("collapsed_at_batch") is not None and not as_json:
        print(
            f"collapsed at batch {summary['collapsed_at_batch']}: from there on few classes are "
            "predicted, many were shown; see tta/experiment/observing/collapse.py"
        )
    if not_finite := in_words(summary):
        print(printable(not_finite), file=sys.stderr if as_json else sys.stdout)
    return 0 if summary.get("nonfinite_at_batch") is None else EXIT_NOT_FINITE


def _print_notes(experiment: Experiment, quiet: bool) -> None:
    """Print what was understood, and whether there is nothing to resume."""
    from tta.experiment.saving.unfinished import nothing_to_resume
    from tta.foundation.notes import lines
    from tta.reporting.records.run_directory import RunDirectory

    notes = [] if quiet else lines(experiment.understood)
    path = experiment.path()
    if experiment.config.resume and not RunDirectory.is_started(path):
        notes += nothing_to_resume(path, experiment.resolved())
    for line in notes:
        print(printable(line), file=sys.stderr)


def _stopped(stop: KeyboardInterrupt, experiment: Experiment | None) -> int:
    """Say what was kept and how to go on, and return the exit status."""
    stop = stop if isinstance(stop, Stopped) else Stopped()
    text = f"stopped by {stop.name} before the stream began; nothing was to be saved"
    if experiment is not None:  # else what follows may be half imported
        from tta.experiment.saving.unfinished import farewell

        text = farewell(stop.name, experiment.path(), len(experiment.plan))
    print(f"\n{text}", file=sys.stderr)
    return stop.status


def _out_of_memory(error: MemoryError | RuntimeError) -> bool:
    import torch

    # On a CPU, torch has no class of its own for it.
    kinds = (MemoryError, torch.cuda.OutOfMemoryError)
    words = ("can't allocate memory", "out of memory")
    return isinstance(error, kinds) or any(word in str(error) for word in words)
