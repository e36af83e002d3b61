"""Run one adaptation method over one stream and print its table.

Examples:
  python -m tta.run --method rmt --scenario continual
  python -m tta.run --method tent --dataset arrays:mine.npz --backbone resnet18 --weights w.pth
  python -m tta.run --method my_file.py:MyMethod --set lr=0.01
  python -m tta.run --list
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tta.cli import EXIT_INTERRUPTED, Parser, add_config_options, guarded, parse_settings
from tta.config import RunConfig, read_yaml, with_settings
from tta.errors import UserError


@guarded
def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, do what it asks for, and return the exit status."""
    options = vars(_parser().parse_args(arguments))
    show_list, show_params = options.pop("list"), options.pop("params")
    as_json, config_file = options.pop("json"), options.pop("config")
    if show_list:
        from tta.listing import listing

        print(listing())
        return 0
    config = _config(options, config_file)
    if show_params:
        from tta.listing import parameter_table

        print(parameter_table(config.method))
        return 0
    return _run(config, as_json)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m tta.run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    shows = parser.add_argument_group("information")
    shows.add_argument("--list", action="store_true", help="show methods, datasets and scenarios")
    shows.add_argument(
        "--params", action="store_true", help="show the hyper-parameters of --method"
    )
    shows.add_argument("--json", action="store_true", help="print the summary as JSON")
    parser.add_argument("--config", type=Path, help="YAML file of options; flags go over it")
    add_config_options(parser)
    return parser


def _config(options: dict[str, Any], file: Path | None) -> RunConfig:
    values = read_yaml(file) if file else {}
    values = with_settings(values, parse_settings(options.pop("set", [])))
    origin = f"{str(file)!r}" if file else "the command line"
    return RunConfig.from_mapping({**values, **options}, origin)


def _run(config: RunConfig, as_json: bool) -> int:
    from tta.assembly import build
    from tta.experiment import run_experiment
    from tta.notes import lines
    from tta.reporting.tables import run_report

    try:
        experiment = build(config)
        for line in lines(experiment.understood):
            print(line, file=sys.stderr)
        summary = run_experiment(experiment, progress=not as_json and sys.stderr.isatty())
    except KeyboardInterrupt:
        print(
            f"\ninterrupted; what was seen is recorded under {config.output}; "
            "--resume goes on from the latest checkpoint, if there is one",
            file=sys.stderr,
        )
        return EXIT_INTERRUPTED
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        raise UserError(
            "out of memory; use a smaller --batch-size or backbone, or --precision bf16"
        ) from error
    for warning in summary.get("warnings", ()) if summary.get("reused") else ():
        print(f"warning: {warning}", file=sys.stderr)
    print(json.dumps(summary, indent=2) if as_json else run_report(summary, config.metric))
    if summary.get("collapsed_at_batch") is not None and not as_json:
        print(
            f"collapsed at batch {summary['collapsed_at_batch']}: from there on few classes are "
            "predicted, many were shown; see tta/reporting/collapse.py"
        )
    return 0


def _out_of_memory(error: MemoryError | RuntimeError) -> bool:
    import torch

    # On a CPU, torch has no class of its own for it.
    kinds = (MemoryError, torch.cuda.OutOfMemoryError)
    words = ("can't allocate memory", "out of memory")
    return isinstance(error, kinds) or any(word in str(error) for word in words)


if __name__ == "__main__":
    raise SystemExit(main())
