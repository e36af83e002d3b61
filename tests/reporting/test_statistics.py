"""Tests of significance against scipy and against their definitions."""

import numpy as np
import pytest
from scipy import stats

from tta.reporting.comparing.statistics import (
    Discordance,
    combine_runs,
    discordance,
    holm,
    paired_bootstrap,
)


@pytest.mark.parametrize(
    "counts", [(0, 0), (0, 1), (0, 9), (3, 3), (5, 12), (30, 41), (500, 610), (70_000, 71_000)]
)
def test_mcnemar_against_scipy(counts):
    expected = stats.binomtest(min(counts), sum(counts), 0.5).pvalue if sum(counts) else 1.0
    assert Discordance(*counts).p == pytest.approx(expected, rel=1e-6)
    assert Discordance(*counts[::-1]).p == Discordance(*counts).p


def test_discordant_samples():
    first, second = np.array([1, 1, 0, 0, 1], bool), np.array([1, 0, 1, 0, 0], bool)
    assert discordance(first, second) == Discordance(2, 1)


def test_holm_is_the_step_down_procedure():
    p_values = np.random.default_rng(0).uniform(0, 0.1, 7)
    corrected = holm(p_values)
    for level in np.linspace(0.001, 0.3, 200):
        rejected = np.zeros(7, bool)
        for step, position in enumerate(np.argsort(p_values)):
            if p_values[position] > level / (7 - step):
                break
            rejected[position] = True
        assert ((corrected <= level) == rejected).all()


def test_holm_known_values_and_missing_ones():
    corrected = holm([0.01, 0.04, np.nan, 0.03, 0.005])
    np.testing.assert_allclose(corrected, [0.03, 0.06, np.nan, 0.06, 0.02])
    assert len(holm([])) == 0


def test_runs_are_combined_conservatively():
    assert combine_runs([0.03]) == 0.03
    assert combine_runs([0.01, 0.02, 0.9]) == 0.04
    assert combine_runs([0.7, 0.8]) == 1.0


def test_bootstrap_of_one_seed_against_scipy():
    differences = np.random.default_rng(1).normal(0.01, 0.02, (1, 15))
    ours = paired_bootstrap(differences, resamples=40_000)
    theirs = stats.bootstrap(
        (differences[0],), np.mean, method="percentile", n_resamples=40_000, rng=2
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx(theirs, abs=3e-4)


def test_bootstrap_over_seeds_and_domains_against_a_loop():
    generator = np.random.default_rng(3)
    differences = generator.normal(0.005, 0.01, (3, 1)) + generator.normal(0, 0.01, (3, 8))
    means = []
    for _ in range(20_000):
        seeds, domains = generator.integers(3, size=3), generator.integers(8, size=8)
        means.append(differences[np.ix_(seeds, domains)].mean())
    ours = paired_bootstrap(differences, resamples=20_000)
    assert (ours.low, ours.high) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=5e-4)
    tail = min(np.mean(np.array(means) <= 0), np.mean(np.array(means) >= 0))
    assert ours.p == pytest.approx(2 * tail, abs=0.02)


def test_bootstrap_is_repeatable_and_never_certain():
    differences = np.full((1, 10), 0.1)
    assert paired_bootstrap(differences) == paired_bootstrap(differences)
    assert 0 < paired_bootstrap(differences).p < 0.001
    assert paired_bootstrap(np.zeros((2, 10))).p == 1.0
