"""Markov chains of domains and classes: worked examples, and the authors' draws."""

import random

import numpy as np
import pytest

from tta.streams.markov import Attribute, RandomSuccessor, bounds, images_in_turn, walk

DOMAINS, CLASSES = Attribute(2, 0.8, 2.0), Attribute(3, 0.7, 2.0)
JOINT = [
    [0.56, 0.12, 0.12, 0.14, 0.03, 0.03],
    [0.169706, 0.460589, 0.169706, 0.042426, 0.115147, 0.042426],
    [0.24, 0.24, 0.32, 0.06, 0.06, 0.08],
    [0.28, 0.06, 0.06, 0.42, 0.09, 0.09],
    [0.084853, 0.230294, 0.084853, 0.127279, 0.345442, 0.127279],
    [0.12, 0.12, 0.16, 0.18, 0.18, 0.24],
]
STATIONARY = [0.302055, 0.213585, 0.151027, 0.151027, 0.106792, 0.075514]


def joint(domains, classes):
    """Return the probabilities of the next state, one row per state."""
    parts = [
        np.array([one.row(state) for state in range(one.states)]) for one in (domains, classes)
    ]
    return np.kron(*parts)


def named(text, classes=3):
    """Return states that are written as two digits, domain and class."""
    return [classes * int(pair[0]) + int(pair[1]) for pair in text.split()]


def test_probabilities_to_stay_give_the_shares():
    assert DOMAINS.consistent and CLASSES.consistent
    np.testing.assert_allclose(DOMAINS.stays, [0.8, 0.6])
    np.testing.assert_allclose(CLASSES.stays, [0.7, 0.575736, 0.4], atol=1e-6)
    matrix = joint(DOMAINS, CLASSES)
    np.testing.assert_allclose(matrix, JOINT, atol=1e-6)
    shares = np.outer(DOMAINS.shares, CLASSES.shares).ravel()
    np.testing.assert_allclose(shares / shares.sum(), STATIONARY, atol=1e-6)
    np.testing.assert_allclose(STATIONARY @ matrix, STATIONARY, atol=1e-6)
    assert bounds(DOMAINS, CLASSES, 10).tolist() == [[10, 7, 5], [5, 4, 3]]


@pytest.mark.parametrize(
    ("states", "stay", "ratio", "consistent"),
    [
        (15, 0.067, 1, True),
        (15, 0.067, 5, False),
        (15, 0.85, 5, True),
        (15, 1.0, 1, False),
        (10, 0.1, 1, True),
        (10, 0.1, 10, False),
        (10, 0.95, 10, True),
        (1, 1.0, 5, True),
    ],
)
def test_which_shares_the_chain_can_give(states, stay, ratio, consistent):
    found = Attribute(states, stay, ratio)
    assert found.consistent == consistent
    assert found.stays[0] == pytest.approx(stay)
    ends = 1 - ratio * (1 - stay) if consistent else stay
    assert found.stays[-1] == pytest.approx(ends)


def test_second_state_of_the_published_domains():
    assert Attribute(15, 0.85, 5).stays[1] == pytest.approx(0.831726, abs=1e-6)


def test_the_walk_of_the_worked_example():
    draws = iter([0.05, 0.35, 0.93, 0.62, 0.99, 0.71, 0.20, 0.88, 0.50, 0.97, 0.10])
    cumulated = joint(DOMAINS, CLASSES).cumsum(1)

    def successor(state, is_open):
        draw = next(draws, None)
        return named("00")[0] if draw is None else int(cumulated[state].searchsorted(draw, "right"))

    states = walk(DOMAINS, CLASSES, 5, successor)
    expected = "00 00 00 10 10 12 11 01 11 10 12 00 00"  # the last makes five of the head
    assert states.tolist() == named(expected)


class TheirDraws:
    """Next states in blocks of draws per state, as the authors' sampler has them."""

    def __init__(self, domains, classes, most):
        self.matrix = joint(domains, classes)
        self.by_column = not domains.consistent and not classes.consistent
        self.most = most
        self.blocks = {}

    def __call__(self, state, is_open):
        while True:
            if not self.blocks.get(state):
                self.blocks[state] = self.block(state, is_open)
            following = self.blocks[state].pop(0)
            if is_open[following]:
                return following

    def block(self, state, is_open):
        row = self.matrix[state] * is_open if self.by_column else self.matrix[state]
        if row.sum() == 0 or not (self.by_column or is_open[state]):
            return np.random.choice(np.flatnonzero(is_open), size=1).tolist()
        return np.random.choice(len(row), size=self.most, p=row / row.sum()).tolist()


@pytest.mark.parametrize(
    ("domains", "classes", "most", "states", "index"),
    [
        ((0.8, 2), (0.7, 2), 3, "00 00 02 02 01 01 11 02", "2 0 8 10 4 5 18 9"),
        (
            (0.5, 2),
            (0.7, 2),
            4,
            "00 10 01 12 10 10 02 00 02 00 01 01 02",
            "2 13 4 23 12 15 8 0 10 1 5 7 9",
        ),
        (
            (1, 1),
            (1 / 3, 1),
            2,
            "00 01 01 01 01 01 10 10 10 10 11 12",
            "2 4 5 7 6 4 13 12 15 14 18 23",
        ),
        ((0.5, 2), (1 / 3, 2), 2, "00 10 11 01 02 12 00", None),
    ],
)
def test_the_authors_streams_with_the_authors_draws(domains, classes, most, states, index):
    random.seed(0)
    np.random.seed(0)
    rings = [list(range(4 * state, 4 * state + 4)) for state in range(6)]
    for ring in rings:
        random.shuffle(ring)
    domains, classes = Attribute(2, *domains), Attribute(3, *classes)
    found = walk(domains, classes, most, TheirDraws(domains, classes, most))
    assert found.tolist() == named(states)
    if index is not None:
        shown = images_in_turn(found, [np.array(ring) for ring in rings])
        assert shown.tolist() == [int(image) for image in index.split()]


def test_successors_follow_the_rows():
    successor = RandomSuccessor(DOMAINS, CLASSES, np.random.default_rng(0))
    is_open = np.ones(6, bool)
    for state in (1, 5):
        drawn = np.bincount([successor(state, is_open) for _ in range(20_000)], minlength=6)
        np.testing.assert_allclose(drawn / 20_000, JOINT[state], atol=0.015)


def test_successors_are_open_ones_in_the_proportions_of_their_row(monkeypatch):
    is_open = np.array([False, False, False, False, True, True])
    for tries in (0, 32):
        monkeypatch.setattr("tta.streams.markov.TRIES", tries)
        successor = RandomSuccessor(DOMAINS, CLASSES, np.random.default_rng(0))
        drawn = np.bincount([successor(2, is_open) for _ in range(4000)], minlength=6)
        assert drawn[:4].sum() == 0
        assert drawn[4] / 4000 == pytest.approx(0.06 / 0.14, abs=0.04)


def test_domains_that_stay_for_good_come_in_order():
    domains, classes = Attribute(3, 1.0, 1.0), Attribute(2, 0.5, 1.0)
    successor = RandomSuccessor(domains, classes, np.random.default_rng(0))
    states = walk(domains, classes, 10, successor)
    assert (states // 2).tolist() == np.repeat([0, 1, 2], 20).tolist()
    only_first_and_last = np.array([False, True, False, False, True, True])
    states = walk(domains, classes, 10, successor, only_first_and_last)
    assert (states // 2).tolist() == np.repeat([0, 2], 20).tolist()
    assert set(states.tolist()) <= {1, 4, 5}


def test_every_state_is_met_as_often_as_its_bound_where_neither_has_such_shares():
    domains, classes = Attribute(4, 0.1, 5.0), Attribute(5, 0.2, 10.0)
    successor = RandomSuccessor(domains, classes, np.random.default_rng(1))
    states = walk(domains, classes, 20, successor)
    assert (
        np.bincount(states).tolist() == np.maximum(bounds(domains, classes, 20), 1).ravel().tolist()
    )


def test_images_come_round_again():
    shown = images_in_turn(np.array([1, 0, 1, 1]), [np.array([7]), np.array([4, 2])])
    assert shown.tolist() == [4, 7, 2, 4]
