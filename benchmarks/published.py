"""Our figures beside those of the papers, one YAML file per published table.

    python benchmarks/published.py benchmarks/cifar10c_continual.yaml

runs every method that has a figure in the table and is registered here, prints its figure, the
published one and the difference, and writes results/published/<table>.md. Published figures are
read from published.csv. Data and weights lie below --data-dir, by default $TTA_DATA_DIR; where
anything is missing, all that is missing is named before anything runs. Finished runs are not run
again, so an interrupted table goes on where it stopped.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from tta.backbones import create_backbone
from tta.cli import Parser, guarded
from tta.config import RunConfig, read_yaml
from tta.datasets import DATASETS, open_dataset
from tta.errors import UserError, did_you_mean
from tta.experiment import run
from tta.methods import METHODS
from tta.methods.requirements import SOURCE_NEEDS
from tta.reporting.tables import markdown, percent
from tta.resolving import resolve_params

FIGURES = Path(__file__).with_name("published.csv")
OUTPUT = Path("results/published")
METRICS = {"error": "mean_error", "accuracy": "mean_accuracy"}
"""Metrics of tables, and what run summaries call them."""
KEYS = ("dataset", "backbone", "scenario")
"""Columns of published.csv that are options of the runs, too."""


@dataclass(frozen=True)
class Row:
    """One published figure, and how to make it.

    Attributes:
        label: the method, and after a slash the variant of it.
        published: in percent.
        remarks: on the published figure.
        configs: one run per seed; none where the figure cannot be made here.
    """

    label: str
    published: float
    remarks: str
    configs: tuple[RunConfig, ...]


@dataclass(frozen=True)
class Table:
    """What a YAML file says.

    Attributes:
        title: heading.
        citation: whose figures, as published.csv has it.
        options: of every run, by field of RunConfig; ``weights`` lies below the data folder.
        metric: of the figures, "error" or "accuracy".
        rows: further options of single rows, by label. A variant without an entry is not run.
        seeds: one run each; the figure is their mean.
        weights_from: where the file of ``weights`` is published.
    """

    title: str
    citation: str
    options: dict[str, Any]
    metric: str = "error"
    rows: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    seeds: tuple[int, ...] = (1,)
    weights_from: str = ""


def read_table(path: Path) -> Table:
    """Return the table that a YAML file describes.

    Raises:
        UserError: it cannot be read, or holds something else.
    """
    values = read_yaml(path)
    names = set(Table.__dataclass_fields__)
    for name in values:
        if name not in names:
            raise UserError(
                f"{str(path)!r} has an unknown key {name!r}; {did_you_mean(name, names)}"
            )
    absent = [name for name in ("title", "citation", "options") if name not in values]
    absent += [f"options.{key}" for key in KEYS if key not in values.get("options", {})]
    if absent:
        raise UserError(f"{str(path)!r} lacks {', '.join(absent)}")
    if values.get("metric", "error") not in METRICS:
        raise UserError(f"{str(path)!r}: metric must be one of {', '.join(METRICS)}")
    return Table(**{**values, "seeds": tuple(values.get("seeds", (1,)))})


def published_figures() -> pd.DataFrame:
    """Return the papers' figures, one per row; empty cells are empty strings."""
    return pd.read_csv(FIGURES, dtype=str, keep_default_na=False).astype({"value": float})


def table_rows(table: Table, data_dir: str | None, origin: str) -> list[Row]:
    """Return the table's rows in the order of published.csv.

    Raises:
        UserError: no published figure belongs to the table, options for a row that it has not, or
            options that no run accepts.
    """
    figures = published_figures()
    chosen = (figures.citation == table.citation) & (figures.metric == table.metric)
    for key in KEYS:
        chosen &= figures[key] == table.options[key]
    figures = figures[chosen]
    if figures.empty:
        raise UserError(f"{origin}: {FIGURES.name} has no such figures of {table.citation!r}")
    labels = [_label(figure) for figure in figures.itertuples()]
    for label in table.rows:
        if label not in labels:
            raise UserError(f"{origin} has options for {label!r}; {did_you_mean(label, labels)}")
    return [
        Row(label, figure.value, figure.remarks, _configs(table, label, data_dir, origin))
        for label, figure in zip(labels, figures.itertuples(), strict=True)
    ]


def _label(figure: Any) -> str:
    return f"{figure.method}/{figure.variant}" if figure.variant else figure.method


def _configs(table: Table, label: str, data_dir: str | None, origin: str) -> tuple[RunConfig, ...]:
    method, _, variant = label.partition("/")
    if method not in METHODS or (variant and label not in table.rows):
        return ()
    options = {**table.options, **(table.rows.get(label) or {}), "method": method}
    if "weights" in options:
        folder = data_dir or os.environ.get("TTA_DATA_DIR", "$TTA_DATA_DIR")
        options["weights"] = str(Path(folder, options["weights"]))
    options["data_dir"] = data_dir
    return tuple(RunConfig.from_mapping({**options, "seed": seed}, origin) for seed in table.seeds)


def missing(configs: Sequence[RunConfig], weights_from: str = "") -> list[str]:
    """Return all that the runs need and is not there, each with its cure.

    Published weights are downloaded only where the data is there.
    """
    found = [fault for config in configs for fault in _all_data_faults(config)]
    for config in configs:
        if config.weights and not Path(config.weights).exists():
            found.append(f"{config.weights} is not there; put {weights_from or 'it'} there")
        elif config.weights or not found:
            found += weights_faults(config.backbone, config.weights, config.num_classes)
    return list(dict.fromkeys(found))


def _all_data_faults(config: RunConfig) -> list[str]:
    kind: Any = DATASETS[config.dataset.partition(":")[0]]
    domains = config.domains and tuple(config.domains)
    found = list(data_faults(config.dataset, config.data_dir, domains, config.severity))
    method = METHODS[config.method]
    if method.needs(resolve_params(method, config, kind)[0]) & SOURCE_NEEDS:
        found += data_faults(config.source or kind.source, config.data_dir)
    return found


@cache
def data_faults(
    specification: str,
    data_dir: str | None,
    domains: tuple[str, ...] | None = None,
    severity: int | None = None,
) -> tuple[str, ...]:
    """Return what is wrong with a data set as it lies on disk; domains default to all."""
    try:
        dataset = open_dataset(specification, data_dir)
        severity = dataset.default_severity if severity is None else severity
        return tuple(map(str, dataset.faults(domains or dataset.domains, (severity,))))
    except UserError as error:
        return (str(error),)


@cache
def weights_faults(backbone: str, weights: str | None, num_classes: int | None) -> tuple[str, ...]:
    """Load a source model, and return what is wrong with its weights."""
    try:
        create_backbone(backbone, weights=weights, num_classes=num_classes)
    except UserError as error:
        return (str(error),)
    return ()


def refusal(path: Path, faults: Sequence[str]) -> UserError:
    """Return the one message that names everything that is missing, cures last."""
    cures: dict[str, list[str]] = {}
    for fault in faults:
        problem, _, cure = fault.partition("; ")
        cures.setdefault(cure, []).append(problem)
    parts = [f"{', '.join(problems)}: {cure}" for cure, problems in cures.items()]
    return UserError(f"{str(path)!r} cannot be run, {len(faults)} missing: {'. '.join(parts)}")


def figure_of(configs: Sequence[RunConfig], metric: str) -> tuple[float, float] | None:
    """Run the seeds of a row; return mean and standard deviation in percent, or None."""
    if not configs:
        return None
    values = [100 * run(config, progress=True)[METRICS[metric]] for config in configs]
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def render(table: Table, rows: Sequence[Row], path: Path) -> str:
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
    protocol = ", ".join(f"{name} {value}" for name, value in table.options.items())
    return "\n\n".join(
        [
            f"# {table.title}",
            f"`python benchmarks/published.py {path}`",
            markdown(header, cells),
            f"mean online {table.metric} over domains in %; published: {table.citation}; here: "
            f"{protocol}, seeds {', '.join(map(str, table.seeds))}. A dash: not a method of this "
            "package, or a variant that it has not.\n",
        ]
    )


@guarded
def main(arguments: Sequence[str] | None = None) -> int:
    """Make the tables and return the exit status."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="+", type=Path, metavar="TABLE.yaml")
    parser.add_argument("--data-dir", metavar="DIR", help="default: $TTA_DATA_DIR")
    options = parser.parse_args(arguments)
    for path in options.tables:
        table = read_table(path)
        rows = table_rows(table, options.data_dir, repr(str(path)))
        faults = missing([row.configs[0] for row in rows if row.configs], table.weights_from)
        if faults:
            raise refusal(path, faults)
        text = render(table, rows, path)
        OUTPUT.mkdir(parents=True, exist_ok=True)
        file = OUTPUT / f"{path.stem}.md"
        file.write_text(text, encoding="utf-8")
        print(f"{text}\nwrote {file}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
