"""A published table, run and written as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from tqdm import tqdm

from tta.config import RunConfig
from tta.experiment.execution import run
from tta.reporting.tables import markdown, percent
from tta.sweeps.publications.table import METRICS, Row, Table


def figure_of(configs: Sequence[RunConfig], metric: str) -> tuple[float, float] | None:
    """Run the seeds of a row; return mean and standard deviation in percent, or None."""
    if not configs:
        return None
    values = [100 * run(config, progress=True)[METRICS[metric]] for config in configs]
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def render(table: Table, rows: Sequence[Row], name: str) -> str:
    """Run all rows and return the table as Markdown."""
    cells = []
    for row in tqdm(rows, desc=table.title):
        ours = figure_of(row.configs, table.metric)
        shown = ["-", "-", "-"]
        if ours:
            difference = f"{ours[0] - row.published:+.2f}"
            shown = [percent(ours[0] / 100), percent(ours[1] / 100), difference]
        cells.append([row.label, f"{row.published:g}", *shown, row.remarks])
    header = ["method", "published", "here", "std over seeds", "difference", "published figure"]
    protocol = ", ".join(f"{key} {value}" for key, value in table.options.items())
    return "\n\n".join(
        [
            f"# {table.title}",
            f"`python -m tta.published {name}`",
            markdown(header, cells),
            f"mean online {table.metric} over domains in %; published: {table.citation}; here: "
            f"{protocol}, seeds {', '.join(map(str, table.seeds))}. A dash: not a method of this "
            "package, or a variant that it has not.\n",
        ]
    )
