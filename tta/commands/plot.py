"""Draw pictures of recorded runs, or of a data set's domains, for a paper.

usage examples:
  python -m tta.plot stream results/runs --methods rmt,tent,source -o stream.pdf
  python -m tta.plot visits results/runs --scenario recurring -o visits.pdf
  python -m tta.plot heatmap results/runs -o heatmap.svg
  python -m tta.plot cost results/runs --cost passes --width column -o cost.pdf
  python -m tta.plot reliability results/runs -o reliability.png
  python -m tta.plot forgetting results/runs -o forgetting.pdf
  python -m tta.plot uploads results/runs -o uploads.pdf
  python -m tta.plot classes results/runs -o classes.pdf
  python -m tta.plot strips results/runs --methods source,bn_alpha -o strips.png
  python -m tta.plot samples digits-c -o samples.png
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tta.commands.cli import Parser, given_path, given_text, guarded
from tta.commands.selection import add_filters, chosen_runs
from tta.foundation.errors import UserError
from tta.foundation.text import printable
from tta.reporting.pictures.style import WIDTHS, check_format, paper_style, save
from tta.reporting.records.run_directory import MATRICES_FILE, SAMPLES_FILE, STRIPS_FILE
from tta.reporting.records.run_folders import check_run_folders

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tta.reporting.comparing.comparison import Comparison
    from tta.reporting.records.runs import Run

KINDS = {
    "stream": "error along the stream, domains as bands",
    "visits": "error of every visit, where domains come back",
    "heatmap": "methods by domains",
    "cost": "accuracy or error against cost, with the Pareto front",
    "reliability": "accuracy by confidence",
    "uploads": "accuracy or error against the share of uploaded images",
    "forgetting": "clean images along the stream, of runs with --probe",
    "classes": "methods by classes, of runs that segment",
    "strips": "images, labels and predictions, of runs that segment; --count visits",
    "samples": "the same images in every domain of a data set",
}
COSTS = ("ms_per_image", "passes", "memory_mib")


@guarded
def main(arguments: Sequence[str] | None, prog: str) -> int:
    """Parse the command line, draw the picture, and return the exit status."""
    options = parser(prog).parse_args(arguments)
    check_format(options.output)
    for name in ("window", "count"):
        if getattr(options, name) < 1:
            raise UserError(f"--{name} must be at least 1, but got {getattr(options, name)}")
    if options.kind != "samples":
        check_run_folders([Path(name) for name in options.inputs])
    with paper_style():
        figures = _draw_dataset(options) if options.kind == "samples" else _draw_runs(options)
        for figure, file in zip(figures, _files(options.output, len(figures)), strict=True):
            save(figure, file)
            print(printable(f"wrote {file}"))
    return 0


def _files(output: Path, count: int) -> list[Path]:
    """Return where so many pictures go: with a number each where there are several."""
    if count == 1:
        return [output]
    return [output.with_stem(f"{output.stem}-{number}") for number in range(1, count + 1)]


def _draw_dataset(options: argparse.Namespace) -> list[Figure]:
    from tta.datasets import open_dataset
    from tta.reporting.pictures.samples import draw_samples

    if len(options.inputs) > 1:
        raise UserError(f"'samples' takes one data set, but got {len(options.inputs)}")
    dataset = open_dataset(options.inputs[0], options.data_dir)
    return [draw_samples(dataset, options.severity, options.count, WIDTHS[options.width])]


_DRAWN_FROM = {
    "stream": ("batches.csv",),
    "reliability": (SAMPLES_FILE, MATRICES_FILE),
    "strips": (STRIPS_FILE,),
}
"""Files, one of which a run must have to be drawn."""


def _draw_runs(options: argparse.Namespace) -> list[Figure]:
    from tta.reporting.comparing.comparison import compare

    runs, _ = chosen_runs([Path(name) for name in options.inputs], options)
    comparisons = compare(_with_what_is_drawn(runs, options.kind), split=options.split)
    return [_draw(comparison, options) for comparison in comparisons]


def _with_what_is_drawn(runs: Sequence[Run], kind: str) -> list[Run]:
    """Return the runs that have the file which a picture is made of, and name the others.

    Raises:
        UserError: none has it.
    """
    if kind == "forgetting":
        return [run for run in runs if run.summary.get("probe")] or list(runs)
    files = _DRAWN_FROM.get(kind)
    if files is None:
        return list(runs)
    absent = f"it has no {' or '.join(files)}"
    others = [run for run in runs if not any(map(run.has, files))]
    lines = [f"{run.path}: {absent}; {run.cure}" for run in others]
    if len(lines) == len(runs):
        raise UserError(f"no run can be shown: {lines[0]}")
    for line in lines:
        print(printable(f"left out {line}"), file=sys.stderr)
    return [run for run in runs if any(map(run.has, files))]


def _draw(comparison: Comparison, options: argparse.Namespace) -> Figure:
    from tta.reporting.pictures.along_stream import draw_along_stream
    from tta.reporting.pictures.forgetting import draw_forgetting
    from tta.reporting.pictures.heat_map import draw_classes, draw_heat_map
    from tta.reporting.pictures.reliability import draw_reliability
    from tta.reporting.pictures.strips import draw_strips
    from tta.reporting.pictures.trade_off import draw_trade_off, draw_uploads
    from tta.reporting.pictures.visits import draw_visits

    width, metric = WIDTHS[options.width], comparison.called(options.metric)
    if options.kind == "stream":
        return draw_along_stream(comparison.rows, metric, width, options.window)
    if options.kind == "visits":
        return draw_visits(comparison.rows, metric, width)
    if options.kind == "heatmap":
        return draw_heat_map(comparison, metric, width)
    if options.kind == "classes":
        return draw_classes(comparison, width)
    if options.kind == "strips":
        return draw_strips(comparison.rows, width, options.count)
    if options.kind == "reliability":
        return draw_reliability(comparison.rows, width)
    if options.kind == "forgetting":
        return draw_forgetting(comparison.rows, options.metric, width)
    if options.kind == "uploads":
        return draw_uploads(comparison, metric, width)
    return draw_trade_off(comparison, metric, options.cost, width)


def parser(prog: str) -> Parser:
    """Return the parser of this command."""
    made = Parser(prog=prog, description=__doc__)
    kinds = "; ".join(f"{name}: {meaning}" for name, meaning in KINDS.items())
    made.add_argument("kind", choices=KINDS, help=kinds)
    made.add_argument(
        "inputs",
        nargs="+",
        type=given_text,
        help="run directories or folders of them; a data set for 'samples'",
    )
    made.add_argument(
        "-o", "--output", type=given_path, required=True, metavar="FILE", help=".pdf, .svg or .png"
    )
    made.add_argument(
        "--width", choices=WIDTHS, default="page", help="of the paper's column or page"
    )
    made.add_argument("--metric", choices=("error", "accuracy"), default="error")
    add_filters(made)
    made.add_argument(
        "--split",
        action="store_true",
        help="draw runs of unlike protocols apart, into numbered files, instead of refusing them",
    )
    made.add_argument("--cost", choices=COSTS, default="ms_per_image", help="of 'cost'")
    made.add_argument(
        "--window", type=int, default=10, metavar="N", help="'stream': batches of the running mean"
    )
    made.add_argument("--severity", type=int, metavar="N", help="of 'samples'")
    made.add_argument(
        "--count", type=int, default=2, metavar="N", help="images per domain, or visits"
    )
    made.add_argument("--data-dir", metavar="DIR", help="folder of the published datasets")
    return made
