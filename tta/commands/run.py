"""Run one adaptation method, or several, over one stream and print the table of each.

Examples:
  python -m tta.run --method rmt --scenario continual
  python -m tta.run --methods tent,rmt,roid --set tent.lr=0.01
  python -m tta.run --method tent --dataset arrays:mine.npz --backbone resnet18 --weights w.pth
  python -m tta.run --method my_file.py:MyMethod --set lr=0.01
  python -m tta.run --list

Exit status: 0 for a finished run, 2 for bad input, 3 for a run with outputs that are not finite,
130 for one that was interrupted. Of several methods, one that fails does not stop the others.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tta.commands.cli import (
    Parser,
    add_config_options,
    given_path,
    guarded,
    names,
    parse_settings,
)
from tta.commands.ending import in_user_words, print_notes, show, stopped
from tta.commands.several import MUTUAL, check_one_of_both, configs_of, run_several
from tta.config import RunConfig, read_yaml, with_settings
from tta.foundation.errors import UserError
from tta.foundation.stops import listening
from tta.foundation.terminal import output_width
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
    configs, is_list = configs_of(*_values(options, config_file))
    from tta.experiment.preflight import (  # NumPy, which --help needs not wait for
        check_method,
        preflight,
    )

    for config in configs:
        (check_method if show_params else preflight)(config)
    if show_params:
        from tta.commands.listing import list_width
        from tta.commands.parameters import parameter_lines

        for config in configs:
            print("\n".join(parameter_lines(config.method, list_width())))
        return 0
    width = None if wide else output_width()
    choose_waiting()  # before torch
    if is_list:
        return run_several(configs, as_json, quiet, width)
    return _run(configs[0], as_json, quiet, width)


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
    made.add_argument(
        "--methods",
        type=names,
        default=argparse.SUPPRESS,
        metavar="A,B",
        help="in place of --method: several on one stream, of which each batch is made once for "
        "all; then --set A.NAME=VALUE",
    )
    made.add_argument("--config", type=given_path, help="YAML file of options; flags go over it")
    add_config_options(made)
    return made


def _values(options: dict[str, Any], file: Path | None) -> tuple[dict[str, Any], str]:
    """Return what is asked for, and where it stands, for messages."""
    values = read_yaml(file) if file else {}
    if "grid" in values:
        raise UserError(f"{str(file)!r} is a grid of runs; pass it to python -m tta.sweep")
    check_one_of_both(values, repr(str(file)))
    check_one_of_both(options, "the command line")
    for name in MUTUAL.keys() & options.keys():
        values.pop(MUTUAL[name], None)  # flags go over the file
    values = with_settings(values, parse_settings(options.pop("set", [])))
    return {**values, **options}, f"{str(file)!r}" if file else "the command line"


def _run(config: RunConfig, as_json: bool, quiet: bool, width: int | None) -> int:
    experiments: list[Experiment] = []
    with listening() as stops:
        try:
            from tta.experiment.assembly import build
            from tta.experiment.execution import run_experiment

            experiments.append(build(config))
            print_notes(experiments, quiet)
            summary = run_experiment(experiments[0], progress=not quiet, stops=stops)
        except KeyboardInterrupt as stop:
            stops.end()
            return stopped(stop, experiments)
        except (MemoryError, RuntimeError) as error:
            known = in_user_words(error)
            if known is error:
                raise
            raise known from error
    return show(summary, config.metric, as_json, width)
