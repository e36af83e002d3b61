"""Figures of open-set recognition: worked examples, and scikit-learn's on random scores."""

import numpy as np
import pytest
from scipy.interpolate import interp1d
from sklearn import metrics

from tta.ops.two_groups import two_group_threshold
from tta.tasks.open_set import (
    auroc,
    average_precision,
    fpr_interpolated,
    fpr_nearest,
    fpr_stepped,
    harmonic_mean,
    oscr,
)
from tta.tasks.queue_rejection import rejected_in_queue, rejection_rates

KNOWN = np.array([3.1, 2.7, 2.2, 1.9, 1.2, 0.4])
RIGHT = np.array([0, 1, 2, 0, 1, 2]) == np.array([0, 1, 2, 1, 1, 0])
UNKNOWN = np.array([2.4, 1.5, 1.0, 0.6, 0.4, -0.2])


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (RIGHT.mean(), 0.666667),
        (auroc(KNOWN, UNKNOWN), 0.763889),
        (fpr_interpolated(KNOWN, UNKNOWN), 0.783333),
        (fpr_stepped(KNOWN, UNKNOWN), 0.833333),
        (fpr_nearest(KNOWN, UNKNOWN), 0.833333),
        (average_precision(KNOWN, UNKNOWN), 0.801623),
        (average_precision(-UNKNOWN, -KNOWN), 0.755159),
        (oscr(KNOWN, RIGHT, UNKNOWN), 0.555556),
        (harmonic_mean(RIGHT.mean(), auroc(KNOWN, UNKNOWN)), 0.711974),
    ],
)
def test_worked_example(found, expected):
    assert found == pytest.approx(expected, abs=1e-6)


def test_comes_figures_take_wrong_known_images_for_unknown_ones():
    others = np.concatenate([UNKNOWN, KNOWN[~RIGHT]])
    assert fpr_nearest(KNOWN[RIGHT], others) == pytest.approx(0.375)
    assert auroc(KNOWN[RIGHT], others) == pytest.approx(0.875)


def test_a_vertical_step_where_the_rate_is_read():
    known = np.array([3.1, 2.7, 2.2, 1.9, 1.2, 0.9, 0.3])
    assert auroc(known, UNKNOWN) == pytest.approx(0.714286, abs=1e-6)
    assert fpr_interpolated(known, UNKNOWN) == pytest.approx(0.833333, abs=1e-6)


def test_the_step_of_twenty_known_images_leaves_one_out():
    known = np.arange(20.0)
    assert fpr_stepped(known, np.array([0.5, 1.0, 5.0, -1.0])) == 0.5  # the threshold is 1


@pytest.mark.parametrize("digits", [0, 1, 6])
def test_as_scikit_learn_has_it(digits):
    rng = np.random.default_rng(digits)
    for _ in range(40):
        sizes = rng.integers(2, 61, 2)  # of 20 and 40 known images, 95 % is a whole number
        known = np.round(rng.normal(0.6, 1, sizes[0]), digits)
        unknown = np.round(rng.normal(0, 1, sizes[1]), digits)
        label, score = np.repeat([1, 0], sizes), np.concatenate([known, unknown])
        assert auroc(known, unknown) == pytest.approx(metrics.roc_auc_score(label, score))
        ours = average_precision(known, unknown), average_precision(-unknown, -known)
        assert ours == pytest.approx(
            (
                metrics.average_precision_score(label, score),
                metrics.average_precision_score(1 - label, -score),
            )
        )
        fpr, tpr, _ = metrics.roc_curve(label, score)
        assert fpr_interpolated(known, unknown) == pytest.approx(float(interp1d(tpr, fpr)(0.95)))
        fpr, fnr, _ = metrics.det_curve(1 - label, -score)
        nearest = int(np.abs(fpr - 0.05).argmin())
        there = 1.0 if fpr[nearest] > 0.1 else fnr[nearest]
        assert fpr_nearest(known, unknown) == pytest.approx(there)


def test_the_queue_splits_where_the_variance_within_is_least():
    novelty = np.array([0.12, 0.18, 0.22, 0.25, 0.31, 0.55, 0.61, 0.64, 0.72, 0.8])
    assert two_group_threshold(novelty, 0.0) == 0.32
    assert two_group_threshold(np.full(4, 1.5), 0.0) == 0.0  # no candidate splits these
    labels = np.array([0, 1, 2, 0, 1, -1, -1, 2, -1, -1])
    predicted = np.array([0, 1, 1, 0, 1, 0, 0, 2, 0, 0])
    rejected = rejected_in_queue(novelty, np.array([0]), np.zeros(10, bool))
    rates = rejection_rates(rejected, predicted == labels, labels >= 0)
    assert rates == pytest.approx((2 / 3, 1.0, 0.8))


def test_a_batch_is_judged_by_the_latest_images_and_its_own():
    novelty = np.concatenate([np.full(600, 0.9), np.full(300, 0.1), [0.2, 0.5]])
    rejected = rejected_in_queue(novelty, np.array([0, 600, 900]), np.zeros(902, bool))
    # Within the last 512 of the third batch: 210 of .9, 300 of .1, and its own two.
    assert two_group_threshold(novelty[-512:], 0.0) == 0.51
    assert rejected[-2:].tolist() == [False, False]
    assert not rejected[600:900].any()
