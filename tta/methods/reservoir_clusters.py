"""Online clusters of styles: which of ReservoirTTA's copies a batch belongs to."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

_LR, _DECAY, _EPS = 1e-4, 0.01, 1e-8
_FIRST, _SECOND = 0.9, 0.999
_COUNT_RESET = 10
"""Once so many times as many styles have been seen as are kept, counting starts over."""


class Assignment(NamedTuple):
    """Where a batch belongs."""

    shares: Tensor
    """Of the clusters ``[K]``."""
    is_new: bool
    """Whether the last cluster has come with this batch."""


class StyleClusters:
    """Centroids that appear where a style is far from all, and learn to tell styles apart.

    They take a step of AdamW down :func:`clustering_loss` over a reservoir of past styles and the
    one at hand, for every batch.

    Args:
        centre: the first centroid ``[D]``, the mean style of source batches.
        most: clusters at most.
        kept: past styles kept for each of ``most`` clusters.
    """

    def __init__(self, centre: Tensor, most: int, kept: int) -> None:
        self.centre, self.most, self.kept = centre, most, kept
        self.past = centre.new_zeros(0, len(centre))
        self.seen = 0
        self._set_offsets(centre.new_zeros(1, len(centre)))

    def _set_offsets(self, offsets: Tensor) -> None:
        """Go on from other offsets of the centroids from the first; moments start anew."""
        self.offsets = offsets
        self.moments = torch.zeros_like(offsets), torch.zeros_like(offsets)
        self.steps = 0

    def __len__(self) -> int:
        return len(self.offsets)

    def assign(
        self, style: Tensor, threshold: Tensor, may_add: bool, generator: torch.Generator
    ) -> Assignment:
        """Return where a batch belongs, and learn from its style.

        Args:
            style: of the batch ``[D]``.
            threshold: distance to the nearest centroid beyond which there is a new one.
            may_add: whether this batch may bring one, as a full batch does.
            generator: draws which past style is given up.
        """
        styles = torch.cat([self.past, style[None]])
        # Waits for the device: the host decides whether there is another copy.
        is_new = (
            may_add and len(self) < self.most and bool(self._distances(style).amin() > threshold)
        )
        if is_new:
            self._set_offsets(torch.cat([self.offsets, (style - self.centre)[None]]))
        shares = (-self._distances(style)).softmax(0)
        self._learn(styles)
        self._keep(style, generator)
        return Assignment(shares, is_new)

    def _distances(self, style: Tensor) -> Tensor:
        return torch.cdist(style[None], self.centre + self.offsets)[0]

    def _learn(self, styles: Tensor) -> None:
        """Take a step of AdamW, whose count of steps torch's own would read from a tensor."""
        with torch.enable_grad():
            offsets = self.offsets.detach().requires_grad_(True)
            loss = clustering_loss(styles, self.centre + offsets)
            (gradient,) = torch.autograd.grad(loss, offsets)
        self.steps += 1
        mean, square = self.moments
        mean.lerp_(gradient, 1 - _FIRST)
        square.mul_(_SECOND).addcmul_(gradient, gradient, value=1 - _SECOND)
        spread = (square.sqrt() / math.sqrt(1 - _SECOND**self.steps)).add_(_EPS)
        moved = self.offsets * (1 - _LR * _DECAY)
        self.offsets = moved.addcdiv_(mean, spread, value=-_LR / (1 - _FIRST**self.steps))

    def _keep(self, style: Tensor, generator: torch.Generator) -> None:
        room = self.kept * len(self)
        if len(self.past) < room:
            self.past = torch.cat([self.past, style[None]])
        else:
            place = int(torch.randint(self.seen, (), generator=generator))
            if place < room:
                self.past = self.past.index_copy(0, _row(place, style), style[None])
            if self.seen > _COUNT_RESET * room:
                self.seen = room
        self.seen += 1

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of everything that changes."""
        return {
            "past": self.past.clone(),
            "seen": self.seen,
            "offsets": self.offsets.clone(),
            "moments": [moment.clone() for moment in self.moments],
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state_dict`."""
        device = self.centre.device
        self.past, self.seen = state["past"].to(device), state["seen"]
        self._set_offsets(state["offsets"].to(device))
        self.moments = tuple(moment.to(device) for moment in state["moments"])
        self.steps = state["steps"]


def _row(place: int, like: Tensor) -> Tensor:
    return torch.full((1,), place, device=like.device)


def clustering_loss(styles: Tensor, centroids: Tensor) -> Tensor:
    """Return how undecided styles ``[N, D]`` are between centroids ``[K, D]``, and how uneven.

    The mean entropy of their soft assignments minus the entropy of the mean assignment, as the
    published code has it, with 1e-8 inside the latter's logarithm.
    """
    scores = -torch.cdist(styles, centroids)
    shares = scores.softmax(1)
    undecided = -(shares * scores.log_softmax(1)).sum(1).mean()
    mean = shares.mean(0)
    return undecided + (mean * (mean + 1e-8).log()).sum()


def distance_quantile(styles: Tensor, share: float) -> Tensor:
    """Return a quantile of the distances, where any, between styles ``[N, D]``: a scalar."""
    distances = torch.cdist(styles, styles).triu(1)
    apart = distances[distances > 0].sort().values
    if not len(apart):
        return distances.new_zeros(())
    place = share * (len(apart) - 1)
    return apart[math.floor(place)].lerp(apart[math.ceil(place)], place - math.floor(place))
