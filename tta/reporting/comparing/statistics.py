"""Paired tests of methods that saw the same stream, in numpy alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LEVEL = 0.05
"""Below this corrected p-value a difference counts."""
MINIMUM_DOMAINS = 6
"""Fewer domains can't carry a bootstrap: even a sign test on 5 has no p below 0.06."""
RESAMPLES = 10_000


@dataclass(frozen=True)
class Discordance:
    """McNemar's counts over one run of each of two methods.

    Attributes:
        only_first: samples that the first method alone got right.
        only_second: samples that the second method alone got right.
    """

    only_first: int
    only_second: int

    @property
    def p(self) -> float:
        """Two-sided p-value of McNemar's exact test (a binomial test at one half)."""
        total, fewer = self.only_first + self.only_second, min(self.only_first, self.only_second)
        drawn = np.arange(1, fewer + 1)
        log_choose = np.concatenate([[0.0], np.cumsum(np.log((total - drawn + 1) / drawn))])
        return float(min(1.0, 2 * np.exp(log_choose - total * np.log(2)).sum()))


def discordance(first: np.ndarray, second: np.ndarray) -> Discordance:
    """Return McNemar's counts of two methods' correctness ``[N]`` on the same samples."""
    return Discordance(int((first & ~second).sum()), int((second & ~first).sum()))


def combine_runs(p_values: np.ndarray) -> float:
    """Return one p-value for several runs of the same comparison: twice the median.

    Valid whatever the dependence between the runs, which share their images (Meinshausen, Meier
    and Bühlmann, p-values for high-dimensional regression, JASA 2009, at the median).
    """
    p_values = np.asarray(p_values)
    return float(p_values[0] if len(p_values) == 1 else min(1.0, 2 * np.median(p_values)))


def holm(p_values: np.ndarray) -> np.ndarray:
    """Return p-values ``[K]`` corrected for K comparisons (Holm 1979); NaN are none."""
    p_values = np.asarray(p_values, float)
    corrected = np.full(len(p_values), np.nan)
    tested = np.flatnonzero(~np.isnan(p_values))
    order = tested[np.argsort(p_values[tested], kind="stable")]
    steps = p_values[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected


@dataclass(frozen=True)
class Bootstrap:
    """A mean difference with its percentile interval and two-sided p-value."""

    low: float
    high: float
    p: float


def paired_bootstrap(
    differences: np.ndarray, resamples: int = RESAMPLES, seed: int = 0
) -> Bootstrap:
    """Resample seeds and domains, crossed, of paired differences.

    Args:
        differences: ``[S, D]``, a method's error less the other's, by seed and domain.
        resamples: number of draws.
        seed: of a private generator, so that a table is the same each time it is made.

    Returns:
        The 95 % percentile interval of the mean, and twice the share of draws on the far side
        of zero, with one draw added so that it is never 0.
    """
    seeds, domains = differences.shape
    generator = np.random.default_rng(seed)
    by_seed = generator.multinomial(seeds, np.full(seeds, 1 / seeds), resamples)
    by_domain = generator.multinomial(domains, np.full(domains, 1 / domains), resamples)
    means = ((by_seed @ differences) * by_domain).sum(1) / (seeds * domains)
    low, high = np.quantile(means, [0.025, 0.975])
    extreme = min((means <= 0).sum(), (means >= 0).sum())
    return Bootstrap(float(low), float(high), float(min(1.0, 2 * (extreme + 1) / (resamples + 1))))
