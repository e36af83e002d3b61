"""Prompts that were learnt for earlier batches, and the statistics that tell where they help."""

from __future__ import annotations

import torch
from torch import Tensor


class Coreset:
    """K core elements: the moments of a batch's features, and prompts.

    Attributes:
        means: ``[K, D]``.
        stds: ``[K, D]``.
        prompts: ``[K, P, D]``.

    Args:
        like: prompts ``[P, D]``, for shape and device.
        kept: cores at most; the oldest goes.
    """

    def __init__(self, like: Tensor, kept: int = 1000) -> None:
        self.kept = kept
        self.means = like.new_zeros(0, like.shape[1])
        self.stds = self.means.clone()
        self.prompts = like.new_zeros(0, *like.shape)

    def __len__(self) -> int:
        return len(self.prompts)

    def weights(self, mean: Tensor, std: Tensor, temperature: float) -> Tensor:
        """Return how near each core is to moments ``[D]``: ``[K]``, which sum to 1."""
        apart = (self.means - mean).norm(dim=1) + (self.stds - std).norm(dim=1)
        return (-apart / temperature).softmax(0)

    def mixture(self, weights: Tensor) -> Tensor:
        """Return the mean ``[P, D]`` of all prompts, weighted by ``[K]``."""
        return torch.tensordot(weights, self.prompts, 1)

    def follow(self, rates: Tensor, mean: Tensor, std: Tensor, prompts: Tensor) -> None:
        """Move every core by its rate ``[K]`` towards moments and prompts.

        Args:
            rates: between 0 and 1.
            mean: ``[D]``.
            std: ``[D]``, or one for each core ``[K, D]``.
            prompts: ``[P, D]``.
        """
        rates = rates[:, None]
        self.means += rates * (mean - self.means)
        self.stds += rates * (std - self.stds)
        self.prompts += rates[:, :, None] * (prompts - self.prompts)

    def append(self, mean: Tensor, std: Tensor, prompts: Tensor) -> None:
        """Add a core element."""
        first = max(0, len(self) + 1 - self.kept)
        self.means = torch.cat([self.means[first:], mean[None]])
        self.stds = torch.cat([self.stds[first:], std[None]])
        self.prompts = torch.cat([self.prompts[first:], prompts[None]])

    def state_dict(self) -> dict[str, Tensor]:
        """Return the cores."""
        return {"means": self.means, "stds": self.stds, "prompts": self.prompts}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take the cores of a :meth:`state_dict`."""
        self.means, self.stds, self.prompts = (state[name] for name in ("means", "stds", "prompts"))
