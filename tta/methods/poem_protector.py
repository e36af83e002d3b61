"""POEM's bets, on the host: whether entropies are still the source's, and what they should be."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tta.foundation.errors import UserError
from tta.ops.memory import array_of

GREATEST_WEALTH = 1e200
GREATEST_STAKE = 1.99
"""Of 2 a rank of 0 or 1 could take all; published rates do not come near."""


class Protector:
    """Bets that test entropies are not distributed as the source's, and undoes the difference.

    With F the distribution of source entropies, linear between those that were seen, ``u = F(h)``
    is uniform for an entropy h as long as nothing has shifted. A martingale stakes the share e of
    its wealth on the contrary, and gains by ``1 + e (u - 1/2)``, which is also its guess at the
    density of u. Its integral brings u back to uniform, and F back to an entropy:

        u' = e/2 u^2 + (1 - e/2) u,    h' = F^-1(u')

    The stake is moved up the gradient g of the log gain by ``rate g / sqrt(sum of g^2)``, not
    further once it exceeds ``bound``, and not by the very first entropy (Bar et al., NeurIPS 2024,
    algorithm 1). Entropies follow one another, those of a batch too.

    Args:
        rate: gamma, above 0.
        bound: D, between 0 and 2.

    Attributes:
        entropies: of the source, each once, in ascending order ``[n]``, nats.
        shares: of source images whose entropy is at most that ``[n]``, in (0, 1].
        stake: e, of the next entropy.
        wealth: of the martingale: evidence of a shift, 1 at the start and without any.
        squares: sum of squared gradients.
        started: whether an entropy has been seen.
    """

    def __init__(self, rate: float, bound: float) -> None:
        self.rate, self.bound = rate, bound
        self.entropies = self.shares = np.zeros(0)
        self.stake, self.wealth, self.squares = 0.0, 1.0, 0.0
        self.started = False

    def learn(self, entropies: Tensor) -> None:
        """Take the distribution of the source's entropies ``[N]``, on the host.

        Raises:
            UserError: none of them is finite.
        """
        values, counts = np.unique(array_of(entropies[entropies.isfinite()]), return_counts=True)
        if not len(values):
            raise UserError(
                "no source image has a prediction of finite entropy, so test entropies have "
                "nothing to be compared with; check --weights, or use --precision fp32"
            )
        self.entropies = values.astype(np.float64)
        self.shares = counts.cumsum() / counts.sum()

    def protect(self, entropies: np.ndarray) -> np.ndarray:
        """Return what the entropies ``[B]`` of a batch should be, and bet on each in its order.

        One that is NaN is passed over.
        """
        ranks = np.interp(entropies, self.entropies, self.shares)
        stakes = np.array([self._bet(rank) for rank in ranks.tolist()])
        ranks = 0.5 * stakes * ranks**2 + (1 - 0.5 * stakes) * ranks
        return np.interp(ranks, self.shares, self.entropies).astype(entropies.dtype)

    def _bet(self, rank: float) -> float:
        """Return the stake on a rank, once it has moved wealth and stake."""
        stake, off = self.stake, rank - 0.5
        if not math.isnan(rank):
            self.wealth = min(self.wealth * (1 + stake * off), GREATEST_WEALTH)
            if self.started:
                self._move_stake(off)
            self.started = True
        return stake

    def _move_stake(self, off: float) -> None:
        if abs(self.stake) > self.bound and self.stake * off > 0:
            return
        gradient = off / (1 + self.stake * off)
        self.squares += gradient**2
        if gradient:
            moved = self.stake + self.rate * gradient / math.sqrt(self.squares)
            self.stake = min(max(moved, -GREATEST_STAKE), GREATEST_STAKE)

    def state_dict(self) -> dict[str, Any]:
        """Return the distribution and all that changes."""
        return {
            "entropies": torch.from_numpy(self.entropies),
            "shares": torch.from_numpy(self.shares),
            "bets": [self.stake, self.wealth, self.squares, self.started],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state_dict`."""
        self.entropies = array_of(state["entropies"].cpu())
        self.shares = array_of(state["shares"].cpu())
        self.stake, self.wealth, self.squares, self.started = state["bets"]
