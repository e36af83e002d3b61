"""Which differences between the rows of a table are more than chance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from tta.reporting.comparing.map_tests import image_bootstrap
from tta.reporting.comparing.rows import Row
from tta.reporting.comparing.statistics import (
    LEVEL,
    MINIMUM_DOMAINS,
    Bootstrap,
    Discordance,
    combine_runs,
    discordance,
    holm,
    paired_bootstrap,
)
from tta.tasks.task import SEGMENTATION


def paired_tests(rows: Sequence[Row], reference: Row | None) -> pd.DataFrame:
    """Return the paired tests of every finished row against a reference, p-values Holm-corrected.

    There is no reference only where no row is finished.

    Columns: ``difference`` of mean error (a fraction; above 0 is worse than the reference),
    ``low`` and ``high`` of its 95 % interval, ``p_bootstrap``, ``p_mcnemar``, and ``discordant``,
    McNemar's counts of each run. NaN where a test is not possible: the bootstrap below
    :data:`MINIMUM_DOMAINS` domains, McNemar without records of single samples.

    Of segmentation the difference is of what the mIoU falls short of 1. In McNemar's place there is
    ``p_images``, of :func:`tta.reporting.comparing.map_tests.image_bootstrap`, and the interval is
    its (of several runs, that of the first).
    """
    tests = {
        row.label: _test(row, reference) for row in rows if row.finished and row is not reference
    }
    p_values = p_columns(rows)
    columns = ["difference", "low", "high", *p_values, "discordant"]
    frame = pd.DataFrame.from_dict(tests, orient="index", columns=columns)
    for name in p_values:
        frame[name] = holm(frame[name].to_numpy(float))
    return frame


def p_columns(rows: Sequence[Row]) -> list[str]:
    """Return the names of the tests of rows of one table."""
    segments = any(row.task is SEGMENTATION for row in rows)
    return ["p_bootstrap", "p_images" if segments else "p_mcnemar"]


def _test(row: Row, reference: Row) -> list[object]:
    errors, other = row.domain_errors.align(reference.domain_errors, join="inner")
    if errors.empty:  # no seed in common
        return [np.nan, np.nan, np.nan, np.nan, np.nan, []]
    differences = (errors - other).dropna(axis=1).to_numpy()  # a seed's stream may lack a domain
    low = high = p_bootstrap = np.nan
    if differences.shape[1] >= MINIMUM_DOMAINS:
        bootstrap = paired_bootstrap(differences)
        low, high, p_bootstrap = bootstrap.low, bootstrap.high, bootstrap.p
    if row.task is SEGMENTATION:
        found = _image_tests(row, reference)
        p_images = combine_runs(np.array([one.p for one in found])) if found else np.nan
        low, high = (found[0].low, found[0].high) if found else (low, high)
        return [differences.mean(), low, high, p_bootstrap, p_images, []]
    counts = _discordances(row, reference)
    p_mcnemar = combine_runs(np.array([count.p for count in counts])) if counts else np.nan
    return [differences.mean(), low, high, p_bootstrap, p_mcnemar, counts]


def _image_tests(row: Row, reference: Row, domain: str | None = None) -> list[Bootstrap]:
    """Return the bootstraps over images, one for each seed that both have run."""
    found = []
    for seed in sorted(row.matrices.keys() & reference.matrices.keys()):
        first, second = row.matrices[seed], reference.matrices[seed]
        if not np.array_equal(first.visit, second.visit):  # of another stream
            continue
        visits = _named_visits(row, seed, first.visit)
        chosen = [visit for visit, name in visits if domain in (None, name)]
        found.append(image_bootstrap(first, second, chosen))
    return found


def _named_visits(row: Row, seed: int, visit: np.ndarray) -> list[tuple[int, str]]:
    """Return the numbers of the visits that have a figure, and the names of their domains."""
    (summary,) = [run.summary for run in row.runs if run.summary["seed"] == seed]
    named = zip(pd.unique(visit), summary["domains"], strict=True)
    return [(number, entry["domain"]) for number, entry in named if entry["pixels"]]


def _discordances(row: Row, reference: Row, domain: str | None = None) -> list[Discordance]:
    counts = []
    for seed in sorted(row.samples.keys() & reference.samples.keys()):
        first, second = row.samples[seed], reference.samples[seed]
        if len(first.visit) != len(second.visit):  # of another stream, whatever its record says
            continue
        if domain is None:
            chosen = np.ones(len(first.visit), bool)
        else:
            chosen = np.isin(first.visit, _visits(row, seed, domain))
        counts.append(discordance(first.correct[chosen], second.correct[chosen]))
    return counts


def _visits(row: Row, seed: int, domain: str) -> list[int]:
    """Return the numbers of the visits to a domain: rows of the record, in order of appearance."""
    visits = pd.unique(row.samples[seed].visit)
    (summary,) = [run.summary for run in row.runs if run.summary["seed"] == seed]
    named = [entry["domain"] for entry in summary["domains"]]
    return [visit for visit, name in zip(visits, named, strict=True) if name == domain]


def tied_with_best(rows: Sequence[Row]) -> pd.Series:
    """Return which rows hold the least mean error, or can't be told from the row that does.

    A row is told apart when every test that is possible says so at the 5 % level.
    """
    ranked = [row for row in rows if row.finished]
    if not ranked:
        return pd.Series(False, [row.label for row in rows])
    best = min(ranked, key=lambda row: row.means.mean())
    tests = paired_tests(ranked, best)
    p_values = p_columns(ranked)
    possible = tests[p_values].notna()
    rejected = tests[p_values] < LEVEL
    tied = possible.any(axis=1) & ~(rejected | ~possible).all(axis=1)
    equal = tests["difference"] == 0
    return (tied | equal).reindex([row.label for row in rows], fill_value=False) | pd.Series(
        {row.label: row is best for row in rows}
    )


def tied_by_domain(rows: Sequence[Row]) -> pd.DataFrame:
    """Return, for each domain, which rows are best or not told from the best by the test of images.

    That is McNemar's, and of segmentation the bootstrap over images.
    """
    ranked = [row for row in rows if row.finished]
    domains = list(dict.fromkeys(name for row in rows for name in row.domain_errors.columns))
    tied = pd.DataFrame(False, [row.label for row in rows], domains)
    for domain in domains if ranked else []:
        means = [row.domain_errors[domain].mean() for row in ranked]
        best = ranked[int(np.argmin(means))]
        p_values = holm([_domain_p(row, best, domain) for row in ranked])
        alike = (p_values >= LEVEL) | (np.array(means) == min(means))
        tied.loc[[row.label for row in ranked], domain] = alike
    return tied


def _domain_p(row: Row, best: Row, domain: str) -> float:
    if row is best:
        return np.nan
    segments = row.task is SEGMENTATION
    counts = (_image_tests if segments else _discordances)(row, best, domain)
    return combine_runs(np.array([count.p for count in counts])) if counts else np.nan
