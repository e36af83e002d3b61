"""Domains and classes as a Markov chain: how long each stays, and how unequal its shares are.

UniTTA (Du et al., 2024): one chain of domains and one of classes move side by side. In each, a
state is kept with some probability, else any other follows alike. Shares fall from the head, state
0, to the tail geometrically.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

Successor = Callable[[int, np.ndarray], int]
"""Draws the state after one; given which states are open ``[D * C]``, it is one of these."""
TRIES = 32
"""Proposals that may fall on closed states before the open ones are weighed one by one."""


@dataclass(frozen=True)
class Attribute:
    """How the domain, or the class, changes from sample to sample.

    Attributes:
        states: how many there are.
        stay: greatest probability to stay in a state, 0 to 1.
        ratio: of the head's share to the tail's, from 1 on.
    """

    states: int
    stay: float
    ratio: float

    @property
    def consistent(self) -> bool:
        """Whether probabilities to stay alone can give the states their shares."""
        if self.states == 1:
            return True
        return self.stay < 1 and (1 - self.stay) * self.ratio <= 1 - 1 / self.states

    @cached_property
    def shares(self) -> np.ndarray:
        """Share of each state ``[S]`` relative to the head's."""
        steps = max(1, self.states - 1)
        return np.power(self.ratio ** (-1 / steps), np.arange(self.states))

    @cached_property
    def stays(self) -> np.ndarray:
        """Probability to stay in each state ``[S]``."""
        if self.states == 1:
            return np.ones(1)
        if not self.consistent:
            return np.full(self.states, self.stay)
        return 1 - self.shares[::-1] * self.ratio * (1 - self.stay)

    def row(self, state: int) -> np.ndarray:
        """Return the probabilities ``[S]`` of the state after one."""
        row = np.full(self.states, (1 - self.stays[state]) / max(1, self.states - 1))
        row[state] = self.stays[state]
        return row

    def move(self, state: int, draw: float) -> int:
        """Return the next state for a uniform draw in [0, 1)."""
        stay = self.stays[state]
        if draw < stay or self.states == 1:
            return state
        other = min(int((draw - stay) / (1 - stay) * (self.states - 1)), self.states - 2)
        return other + (other >= state)


def bounds(domains: Attribute, classes: Attribute, most: int) -> np.ndarray:
    """Return how many samples of each state there are at most ``[D, C]``; ``most`` of the head."""
    return np.round(most * np.outer(domains.shares, classes.shares))


def walk(
    domains: Attribute,
    classes: Attribute,
    most: int,
    successor: Successor,
    is_open: np.ndarray | None = None,
) -> np.ndarray:
    """Return the states ``[N]`` that the chain goes through; domain d and class c are d * C + c.

    Where the shares of both follow from the chain, it ends as soon as a state has been met
    ``most`` times. Else states are closed when they, or all of their domain or class where only
    that has no such shares, have been met as often as :func:`bounds` says, until none is open.

    Args:
        domains: the chain of the domains.
        classes: that of the classes.
        most: see above.
        successor: draws the next state.
        is_open: states that may be met at all ``[D * C]``; None for all. The walk starts in the
            first.
    """
    is_open = np.ones(domains.states * classes.states, bool) if is_open is None else is_open.copy()
    group, left, ends = _budget(domains, classes, most)
    states, state = [], int(is_open.argmax())
    while True:
        states.append(state)
        left[group[state]] -= 1
        if left[group[state]] <= 0:
            is_open &= False if ends else group != group[state]
            if not is_open.any():
                return np.array(states)
        state = successor(state, is_open)


def _budget(
    domains: Attribute, classes: Attribute, most: int
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Return the group of each state, the budget of each group, and whether one ends the walk."""
    bound = bounds(domains, classes, most)
    number = np.arange(bound.size)
    if domains.consistent and classes.consistent:
        return number, np.full(bound.size, float(most)), True
    if classes.consistent:
        return number // classes.states, bound.sum(1), False
    if domains.consistent:
        return number % classes.states, bound.sum(0), False
    return number, bound.ravel(), False


class RandomSuccessor:
    """Draws next states from a chain.

    Where no state that may follow is open, any open one follows alike; of an attribute that never
    changes by itself, the next in order.
    """

    def __init__(self, domains: Attribute, classes: Attribute, rng: np.random.Generator) -> None:
        self.domains, self.classes, self.rng = domains, classes, rng
        self._draws = _uniform(rng)

    def __call__(self, state: int, is_open: np.ndarray) -> int:
        """Return the state after ``state``, one of the open ones ``[D * C]``."""
        domain, label = divmod(state, self.classes.states)
        for _ in range(TRIES):
            following = self.domains.move(domain, next(self._draws)) * self.classes.states
            following += self.classes.move(label, next(self._draws))
            if is_open[following]:
                return following
        weights = np.outer(self.domains.row(domain), self.classes.row(label)).ravel() * is_open
        if weights.sum() == 0:
            weights = self._anew(domain, label, is_open)
        return int(self.rng.choice(len(weights), p=weights / weights.sum()))

    def _anew(self, domain: int, label: int, is_open: np.ndarray) -> np.ndarray:
        weights = is_open.reshape(self.domains.states, self.classes.states).astype(float)
        if self.domains.stay == 1:
            weights[np.arange(self.domains.states) != _next(weights.any(1), domain)] = 0
        if self.classes.stay == 1:
            weights[:, np.arange(self.classes.states) != _next(weights.any(0), label)] = 0
        return weights.ravel()


def _uniform(rng: np.random.Generator) -> Iterator[float]:
    while True:
        yield from rng.random(4096).tolist()


def _next(has_open: np.ndarray, state: int) -> int:
    """Return the first from ``state`` on, and after the last from 0, that has open states."""
    return int((state + np.roll(has_open, -state).argmax()) % len(has_open))


def images_in_turn(states: np.ndarray, images: Sequence[np.ndarray]) -> np.ndarray:
    """Return the image ``[N]`` of each sample of a walk: those of its state in turn, again and
    again.

    Args:
        states: of the walk ``[N]``.
        images: of each state, in the order in which they are shown.
    """
    index = np.empty(len(states), np.int64)
    for state in np.unique(states):
        rows = np.flatnonzero(states == state)
        index[rows] = np.resize(images[state], len(rows))
    return index
