"""Merging the weights of several networks into one: soups and Fisher-weighted means.

State dicts are those of one architecture, fine-tuned from one initialisation. Nothing here reads a
file or an image, but for what the caller hands over to judge a soup.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tta.foundation.errors import UserError

State = Mapping[str, Tensor]
_SMALLEST = 1e-30  # norm of a Fisher information that is divided by


@dataclass(frozen=True)
class Soup:
    """A mean of some networks, and how it was chosen.

    Attributes:
        members: numbers of the networks in it, in the order in which they came in.
        state: their mean.
        accuracy: of that mean.
    """

    members: tuple[int, ...]
    state: dict[str, Tensor]
    accuracy: float


def average(states: Sequence[State], weights: Sequence[float] | None = None) -> dict[str, Tensor]:
    """Return the mean of state dicts, running statistics included; counters are the first's.

    Args:
        states: with the same names and shapes.
        weights: of each, see :func:`shares_of`. None: all alike.

    Raises:
        UserError: weights that are no shares.
    """
    shares = shares_of(weights, len(states))
    return {
        key: _mean([state[key] for state in states], shares)
        if value.is_floating_point()
        else value.clone()
        for key, value in states[0].items()
    }


def shares_of(weights: Sequence[float] | None, count: int) -> list[float]:
    """Return the shares of networks that weights ask for: divided by their sum.

    Args:
        weights: one for each network, at least 0, and not all 0. None: all alike.
        count: of networks.

    Raises:
        UserError: there are others.
    """
    weights = [1.0] * count if weights is None else list(weights)
    total = sum(weights)
    if len(weights) != count or not 0 < total < math.inf or min(weights) < 0:
        raise UserError(
            f"shares are a number of at least 0 for each of {count} networks, and not all 0; got "
            f"{', '.join(map(str, weights))}"
        )
    return [weight / total for weight in weights]


def _mean(values: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    total = torch.zeros_like(values[0], dtype=torch.float64)
    for value, share in zip(values, shares, strict=True):
        total.add_(value.double(), alpha=share)
    return total.to(values[0].dtype)


def greedy_soup(
    states: Sequence[State],
    accuracies: Sequence[float],
    evaluate: Callable[[dict[str, Tensor]], float],
) -> Soup:
    """Return the mean of those networks that make it better, tried from the best one downwards.

    A network comes in where the mean with it is strictly more accurate than any soup before
    (Wortsman et al., ICML 2022, recipe 1). Of equal accuracies the earlier network is tried first.

    Args:
        states: with the same names and shapes.
        accuracies: of each, on held-out images.
        evaluate: returns the accuracy of a mean on the same images.
    """
    first, *others = sorted(range(len(states)), key=lambda number: -accuracies[number])
    soup = Soup((first,), average([states[first]]), accuracies[first])
    for number in others:
        count = len(soup.members)
        tried = average([soup.state, states[number]], [count, 1])
        accuracy = evaluate(tried)
        if accuracy > soup.accuracy:
            soup = Soup((*soup.members, number), tried, accuracy)
    return soup


def fisher_merge(
    states: Sequence[State],
    fishers: Sequence[State],
    weights: Sequence[float] | None = None,
    *,
    floor: float = 1e-6,
    favour_first: bool = True,
    normalise: bool = True,
) -> dict[str, Tensor]:
    """Return the mean of networks in which each weight counts as much as it matters to its own.

    ``theta = sum c_i F_i theta_i / sum c_i F_i`` per weight, with ``c_i = lambda_i / |F_i|``
    (Matena and Raffel, NeurIPS 2022, eq. 4, and the norm of the authors' code). What has no Fisher
    information, such as running statistics, is the mean by ``weights``; so is a weight that
    matters to none.

    Args:
        states: with the same names and shapes.
        fishers: diagonal Fisher information of each, see :func:`tta.source.fisher.fisher_diagonal`.
        weights: lambda of each, see :func:`shares_of`; None: all alike.
        floor: least Fisher information.
        favour_first: let the floor hold for the first network alone, so that its value stays where
            the others have no Fisher information.
        normalise: divide by the norm of the Fisher information over all weights.

    Raises:
        UserError: weights that are no shares.
    """
    shares = shares_of(weights, len(states))
    plain = average(states, shares)
    scales = [
        share / _norm(f) if normalise else share for share, f in zip(shares, fishers, strict=True)
    ]
    for key in fishers[0]:
        total = torch.zeros_like(plain[key], dtype=torch.float64)
        summed = torch.zeros_like(total)
        for number, (state, fisher) in enumerate(zip(states, fishers, strict=True)):
            matters = fisher[key].double()
            if number == 0 or not favour_first:
                matters = matters.clamp_min(floor)
            total += scales[number] * matters
            summed += scales[number] * matters * state[key].double()
        merged = (summed / total).to(plain[key].dtype)
        plain[key] = torch.where(total > 0, merged, plain[key])
    return plain


def _norm(fisher: State) -> float:
    squares = [value.double().square().sum() for value in fisher.values()]
    return max(float(torch.stack(squares).sum().sqrt()), _SMALLEST)
