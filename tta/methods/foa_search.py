"""CMA-ES, a search that needs the values of a function alone, behind a plain state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tta.foundation.errors import UserError


class EvolutionSearch:
    """CMA-ES from zero with unit steps, by the optional package ``cmaes``.

    Its random numbers come from the caller's generator, and its state is tensors and plain
    values.

    Args:
        dim: length of a candidate.
        population: candidates per generation, all of which :meth:`tell` takes.
        diagonal: keep the variances alone (Ros and Hansen, 2008): linear in ``dim`` where the
            full covariance takes ``dim ** 2`` memory and ``dim ** 3`` time per generation.

    Raises:
        UserError: the package is not installed.
    """

    def __init__(self, dim: int, population: int, diagonal: bool = False) -> None:
        try:
            from cmaes import CMA, SepCMA
        except ImportError as error:
            raise UserError(
                "method 'foa' needs the package cmaes, which is not installed; "
                "install it with: pip install cmaes"
            ) from error
        kind = SepCMA if diagonal else CMA
        self._diagonal = diagonal
        self._search = kind(mean=np.zeros(dim), sigma=1.0, population_size=population)

    def ask(self, count: int, generator: torch.Generator) -> Tensor:
        """Return ``count`` candidates ``[count, dim]``, float64 on the host."""
        self._search.reseed_rng(torch.randint(2**32, (), generator=generator).item())
        draw = self._search.ask if self._diagonal else self._full_sampler()
        return torch.from_numpy(np.stack([draw() for _ in range(count)]))

    def _full_sampler(self) -> Callable[[], np.ndarray]:
        """Return what draws as the package's ``ask``: that scales the axes for every candidate.

        Which is a product of ``dim ** 3``; here once per generation, by ``dim ** 2``.
        """
        search = self._search
        axes, lengths = search._eigen_decomposition()
        scaled = axes * lengths
        return lambda: search._mean + search._sigma * scaled.dot(search._rng.randn(len(scaled)))

    def tell(self, candidates: Tensor, losses: list[float]) -> None:
        """Learn from the losses of a whole generation ``[population, dim]``."""
        self._search.tell(list(zip(candidates.numpy(), losses, strict=True)))
        # Saving keeps one half of a matrix that is symmetric up to rounding. Saved here, a run
        # that goes on and one that continues from a file stay equal to the bit.
        self.load_state_dict(self.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the search."""
        state = self._search.__getstate__()
        # Values for a stopping rule that nobody asks, from memory that starts unset.
        state.pop("_funhist_values", None)
        return {name: _plain(value) for name, value in state.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state_dict`."""
        arrays = {
            name: value.cpu().numpy().copy() if isinstance(value, Tensor) else value
            for name, value in state.items()
        }
        self._search.__setstate__(arrays)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy())
    return value.item() if isinstance(value, np.generic) else value
