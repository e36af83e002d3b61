"""Images until a method is near its settled error, and the excess."""

import numpy as np
import pytest

from tta.tasks.recovery import recovery, recovery_of_visit


def images(*errors, stretch=10):
    """Return whether images are right, whose errors per stretch are given in tenths."""
    return np.concatenate([np.arange(stretch) >= wrong for wrong in errors]).astype(np.float32)


def test_a_method_that_settles():
    # Settled at .2; stretches of .6, .4 and .3 are above it by .7 of ten images.
    found = recovery_of_visit(images(6, 4, 3, 2, 2, 2, 2, 2), 10)
    assert found == (30, pytest.approx(4 + 2 + 1))


def test_within_a_tenth_of_the_settled_error_is_recovered():
    assert recovery_of_visit(images(22, 20, 20, 20, stretch=100), 100) == (0, pytest.approx(2))
    assert recovery_of_visit(images(23, 20, 20, 20, stretch=100), 100) == (100, pytest.approx(3))


def test_a_method_that_gets_worse_was_never_off():
    assert recovery_of_visit(images(1, 1, 4, 4), 10) == (0, 0.0)


def test_a_short_visit_says_nothing():
    assert recovery_of_visit(images(5, 2, 2), 10) is None


def test_only_changes_of_domain_count():
    visit = np.repeat([0, 1, 2], 400)
    correct = np.concatenate(
        [images(*[20] * 4, stretch=100)] * 2 + [images(60, 20, 20, 20, stretch=100)]
    )
    found = recovery(correct, visit, np.repeat([0, 1, 1], 400), 50)
    assert found == {"recovery_images": 0.0, "recovery_excess": 0.0, "changes": 1}
    found = recovery(correct, visit, np.repeat([0, 1, 0], 400), 50)
    assert found == {
        "recovery_images": 50.0,  # none after the first change, 100 after the second
        "recovery_excess": pytest.approx(20.0),
        "changes": 2,
    }


def test_mixed_domains_have_none():
    domain = np.arange(1000) % 2
    assert recovery(np.ones(1000), domain, domain, 100) is None
    assert recovery(np.ones(1000), np.zeros(1000), np.zeros(1000), 100) is None
