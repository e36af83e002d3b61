"""Which differences between the rows of a table are more than chance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from tta.reporting.comparing.rows import Row
from tta.reporting.comparing.statistics import (
    LEVEL,
    MINIMUM_DOMAINS,
    Discordance,
    combine_runs,
    discordance,
    holm,
    paired_bootstrap,
)


def paired_tests(rows: Sequence[Row], reference: Row | None) -> pd.DataFrame:
    """Return the paired tests of every finished row against a reference, p-values Holm-corrected.

    There is no reference only where no row is finished.

    Columns: ``difference`` of mean error (a fraction; above 0 is worse than the reference),
    ``low`` and ``high`` of its 95 % interval, ``p_bootstrap``, ``p_mcnemar``, and ``discordant``,
    McNemar's counts of each run. NaN where a test is not possible: the bootstrap below
    :data:`MINIMUM_DOMAINS` domains, McNemar without records of single samples.
    """
    tests = {
        row.label: _test(row, reference) for row in rows if row.finished and row is not reference
    }
    columns = ["difference", "low", "high", "p_bootstrap", "p_mcnemar", "discordant"]
    frame = pd.DataFrame.from_dict(tests, orient="index", columns=columns)
    for name in ("p_bootstrap", "p_mcnemar"):
        frame[name] = holm(frame[name].to_numpy(float))
    return frame


def _test(row: Row, reference: Row) -> list[object]:
    errors, other = row.domain_errors.align(reference.domain_errors, join="inner")
    if errors.empty:  # no seed in common
        return [np.nan, np.nan, np.nan, np.nan, np.nan, []]
    differences = (errors - other).dropna(axis=1).to_numpy()  # a seed's stream may lack a domain
    low = high = p_bootstrap = np.nan
    if differences.shape[1] >= MINIMUM_DOMAINS:
        bootstrap = paired_bootstrap(differences)
        low, high, p_bootstrap = bootstrap.low, bootstrap.high, bootstrap.p
    counts = _discordances(row, reference)
    p_mcnemar = combine_runs(np.array([count.p for count in counts])) if counts else np.nan
    return [differences.mean(), low, high, p_bootstrap, p_mcnemar, counts]


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
    best = min(ranked, key=lambda row: row.figures("mean_error").mean())
    tests = paired_tests(ranked, best)
    possible = tests[["p_bootstrap", "p_mcnemar"]].notna()
    rejected = tests[["p_bootstrap", "p_mcnemar"]] < LEVEL
    tied = possible.any(axis=1) & ~(rejected | ~possible).all(axis=1)
    equal = tests["difference"] == 0
    return (tied | equal).reindex([row.label for row in rows], fill_value=False) | pd.Series(
        {row.label: row is best for row in rows}
    )


def tied_by_domain(rows: Sequence[Row]) -> pd.DataFrame:
    """Return, for each domain, which rows are best or not told from the best by McNemar's test."""
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
    counts = _discordances(row, best, domain)
    return combine_runs(np.array([count.p for count in counts])) if counts else np.nan
