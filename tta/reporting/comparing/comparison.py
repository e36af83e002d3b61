"""Several methods on the same stream: figures, tests and costs as one frame."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from tta.foundation.errors import UserError, did_you_mean
from tta.reporting.comparing.paired import paired_tests, tied_by_domain, tied_with_best
from tta.reporting.comparing.protocol import by_protocol, describe, told_apart
from tta.reporting.comparing.rows import Row, rows_of
from tta.reporting.comparing.titles import titles
from tta.reporting.records.runs import Run
from tta.tasks.metric import RunFigure
from tta.tasks.open_set_metrics import OPEN_SET_FIGURES
from tta.tasks.summary_figures import PROTOCOL_FIGURES
from tta.tasks.task import ALL_FIGURES, SEGMENTATION, Task

MACHINE_COSTS = ("ms_per_image", "memory_mib", "memory_rise_mib")


@dataclass(frozen=True)
class Comparison:
    """Runs of one protocol.

    Attributes:
        rows: the least mean error first; unfinished runs last.
        baseline: label of the row that differences are given to, or None.
        apart: facts that tell its protocol from those of the tables beside it, in words.
        title: the protocol's name, unlike that of any table beside it.
    """

    rows: tuple[Row, ...]
    baseline: str | None = None
    apart: Mapping[str, str] = field(default_factory=dict)
    title: str = ""

    @property
    def protocol(self) -> dict[str, str]:
        """The facts that all runs share, in words."""
        return describe([run for row in self.rows for run in row.runs]) | dict(self.apart)

    @property
    def task(self) -> Task:
        """What the runs were judged by."""
        return self.rows[0].task

    def called(self, metric: str) -> str:
        """Return what the headline is called, where the user asked for ``error`` or another."""
        return self.task.called(metric)

    @property
    def domains(self) -> list[str]:
        """Domains in the order of the stream."""
        return list(dict.fromkeys(name for row in self.rows for name in row.domain_errors.columns))

    @property
    def reference(self) -> Row | None:
        """The row that the paired tests are against: the baseline, or else the best."""
        finished = [row for row in self.rows if row.finished]
        named = [row for row in finished if row.label == self.baseline]
        return next(iter([*named, *finished]), None)

    @cached_property
    def errors(self) -> pd.DataFrame:
        """Mean error by method and domain, over seeds; fractions.

        Where the headline is another figure, what that falls short of 1.
        """
        means = {row.label: row.domain_errors.mean() for row in self.rows}
        return pd.DataFrame.from_dict(means, orient="index")[self.domains]

    @cached_property
    def best(self) -> pd.DataFrame:
        """Where a row is best or statistically tied with the best, by domain and in ``mean``."""
        return tied_by_domain(self.rows)[self.domains].assign(mean=tied_with_best(self.rows))

    @cached_property
    def tests(self) -> pd.DataFrame:
        """Tests against :attr:`reference`; see :mod:`tta.reporting.comparing.paired`."""
        return paired_tests(self.rows, self.reference)

    @cached_property
    def figures(self) -> pd.DataFrame:
        """One row of numbers per method: headline, calibration and cost; NaN where unknown.

        Headlines are errors, or what the headline falls short of 1, as in :attr:`errors`.

        Those of open-set recognition are there where any run has one.
        """
        figures = pd.DataFrame.from_dict(
            {row.label: _figures(row) for row in self.rows}, orient="index"
        )
        names = [figure.name for figure in OPEN_SET_FIGURES if figure.name in figures]
        figures = figures.drop(columns=[name for name in names if figures[name].isna().all()])
        finished = [row.label for row in self.rows if row.finished]
        figures["rank"] = self.errors.loc[finished].rank().mean(axis=1)
        plain = self._source_figures(figures)
        figures["source_ratio"] = figures["ms_per_image"] / plain["ms_per_image"]
        figures["extra_memory_mib"] = figures["memory_rise_mib"] - plain["memory_rise_mib"]
        if self.baseline is not None:
            figures["difference"] = figures["mean"] - figures.loc[self.baseline, "mean"]
        return figures

    def _source_figures(self, figures: pd.DataFrame) -> pd.DataFrame:
        """Return the unadapted model's figures for every row that ran on the same machine."""
        plain = next((row for row in self.rows if row.summary["method"] == "source"), None)
        known = pd.DataFrame(np.nan, figures.index, figures.columns)
        for row in self.rows if plain else ():
            if row.machine == plain.machine:
                known.loc[row.label] = figures.loc[plain.label]
        return known


def compare(
    runs: Sequence[Run], baseline: str | None = None, split: bool = False
) -> list[Comparison]:
    """Return one comparison per protocol.

    Args:
        runs: read by :func:`tta.reporting.records.finding.find_runs`.
        baseline: method, title or label that differences are given to.
        split: compare runs of unlike protocols apart, instead of refusing them.

    Raises:
        UserError: the runs' protocols differ and ``split`` is off, or there is no such baseline.
    """
    comparisons = []
    protocols = by_protocol(runs, split)
    for group, apart in zip(protocols, told_apart(protocols), strict=True):
        rows = tuple(rows_of(group))
        named = baseline and _find_baseline(rows, baseline)
        comparisons.append(Comparison(rows, named, apart))
    names = titles([comparison.protocol for comparison in comparisons])
    return [
        dataclasses.replace(comparison, title=name)
        for comparison, name in zip(comparisons, names, strict=True)
    ]


def _find_baseline(rows: Sequence[Row], name: str) -> str:
    labels = [row.label for row in rows if name == row.label]
    labels += [row.label for row in rows if name in (row.summary["method"], row.summary["title"])]
    if not labels:
        hint = did_you_mean(name, [row.label for row in rows])
        raise UserError(f"--baseline {name!r} is not among the runs of this table; {hint}")
    if name not in labels and len(labels) > 1:
        raise UserError(
            f"--baseline {name!r} is one of several rows; name one of: {'; '.join(labels)}"
        )
    return labels[0]


def _figures(row: Row) -> dict[str, float]:
    """Return means over seeds; NaN where a seed's figure is unknown or not a number.

    So are time and memory where the seeds ran on unlike machines.
    """
    means = row.means
    cost = pd.DataFrame([_cost(run) for run in row.runs]).mean(skipna=False)
    if row.machine is None:
        cost[list(MACHINE_COSTS)] = np.nan
    return {
        "seeds": len(row.runs),
        "mean": means.mean(),
        "std": means.std(ddof=1),
        "pooled": row.pooled.mean(),
        **_visits(row),
        **_of_protocols(row),
        **{figure.name: _mean(row, figure) for figure in _all_figures(row)},
        **cost,
    }


def _all_figures(row: Row) -> tuple[RunFigure, ...]:
    return row.task.figures if row.task is SEGMENTATION else ALL_FIGURES


def _visits(row: Row) -> dict[str, float]:
    """Return the errors of the first and the last visit, where domains come back."""
    visits = [run.summary.get("visits") for run in row.runs]
    known = [errors for errors in visits if errors]
    if not known:
        return {}
    ends = pd.DataFrame([(errors[0], errors[-1]) for errors in known], dtype=float)
    means = row.task.shortfall(ends.mean())
    return dict(zip(("first_visit", "last_visit"), means, strict=True))


def _of_protocols(row: Row) -> dict[str, float]:
    """Return the figures that the row's protocol adds, means over the seeds that have them."""
    found = {
        figure.name: [known for run in row.runs if (known := figure.get(run.summary)) is not None]
        for figure in PROTOCOL_FIGURES
    }
    return {name: float(np.mean(values)) for name, values in found.items() if values}


def _mean(row: Row, figure: RunFigure) -> float:
    return pd.Series([run.figure(figure) for run in row.runs], dtype=float).mean(skipna=False)


def _cost(run: Run) -> dict[str, float]:
    summary, passes = run.summary, run.summary.get("passes", {})
    return {
        "forwards": passes.get("forwards", np.nan),
        "backwards": passes.get("backwards", np.nan),
        "ms_per_image": 1000 * summary["cost"].get("stream_seconds", np.nan) / summary["samples"],
        "memory_mib": summary["cost"].get("peak_memory_bytes", np.nan) / 2**20,
        "memory_rise_mib": summary["cost"].get("memory_rise_bytes", np.nan) / 2**20,
        "upload_fraction": summary.get("upload_fraction", np.nan),
    }
