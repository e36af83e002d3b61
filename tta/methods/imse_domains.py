"""Domains that were met: what their patches look like, and the singular values learnt there."""

from __future__ import annotations

import torch
from torch import Tensor

DECAY = 0.8
"""Of the moving average of a domain's moments, per batch."""
NAMES = ("current", "moments", "values")


def patch_moments(tokens: Tensor) -> Tensor:
    """Return mean and unbiased variance ``[2, D]`` of patches ``[B, N, D]`` over images and places.

    Variances are at least 1e-12, by which others are divided.
    """
    variance, mean = torch.var_mean(tokens.flatten(0, 1), 0)
    return torch.stack([mean, variance.clamp_min(1e-12)])


def moment_distance(first: Tensor, second: Tensor) -> Tensor:
    """Return the symmetric KL divergence of normal distributions, the mean over channels.

    Args:
        first: mean and variance ``[..., 2, D]``.
        second: likewise.

    Returns:
        ``[...]``, at least 0.
    """
    (mean, var), (other_mean, other_var) = first.unbind(-2), second.unbind(-2)
    moved = (mean - other_mean).square()
    return ((var + moved) / (2 * other_var) + (other_var + moved) / (2 * var) - 1).mean(-1)


class DomainBank:
    """K domains, the source first, and the moments of the one at hand.

    Attributes:
        current: mean and variance ``[1, 2, D]`` of the domain at hand, ``[0, 2, D]`` before its
            first batch.
        moments: of the domains ``[K, 2, D]``.
        values: what was learnt there ``[K, V]``.

    Args:
        like: any moments ``[2, D]``.
        learnt: any values ``[V]``.
        kept: domains beside the source at most; the oldest goes.
    """

    def __init__(self, like: Tensor, learnt: Tensor, kept: int) -> None:
        self.current = like.new_zeros(0, *like.shape)
        self.moments = self.current.clone()
        self.values = learnt.new_zeros(0, len(learnt))
        self.kept = kept

    def __len__(self) -> int:
        return len(self.moments)

    def is_left(self, moments: Tensor, threshold: float) -> bool:
        """Return whether a batch is further than ``threshold`` from the domain at hand.

        A wait for the device: the bank grows, or it does not.
        """
        return bool((moment_distance(self.current, moments) > threshold).any())

    def follow(self, moments: Tensor) -> None:
        """Move the moments at hand towards a batch's; those that are no numbers do not count."""
        if len(self.current) == 0:
            self.current = moments[None].clone()
            return
        moved = moments.lerp(self.current, DECAY)
        moved = torch.where(self.current.isfinite(), moved, moments)
        self.current = torch.where(moments.isfinite(), moved, self.current)

    def leave(self, values: Tensor) -> None:
        """Keep the domain at hand with what was learnt in it; the next batch begins another."""
        first = int(len(self) > self.kept)
        rows = [slice(0, first), slice(2 * first, None)]  # the source, and all but the oldest
        self.moments = torch.cat([*(self.moments[row] for row in rows), self.current])
        self.values = torch.cat([*(self.values[row] for row in rows), values[None]])
        self.current = self.current[:0]

    def nearest(self, moments: Tensor) -> Tensor:
        """Return the values ``[V]`` of the domain that is nearest to a batch."""
        best = moment_distance(self.moments, moments).argmin()
        return self.values.index_select(0, best.view(1))[0]

    def mixture(self, moments: Tensor, temperature: float) -> Tensor:
        """Return values of all domains ``[V]``, weighted by how near they are to a batch."""
        weights = (-moment_distance(self.moments, moments) / temperature).softmax(0)
        source = self.values[0]
        return source + weights @ (self.values - source)

    def state_dict(self) -> dict[str, Tensor]:
        """Return all domains, and the moments at hand."""
        return {name: getattr(self, name) for name in NAMES}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take what a :meth:`state_dict` holds."""
        for name in NAMES:
            setattr(self, name, state[name])
