"""A small cache of features per class, the most certain first; nothing waits for the device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_PARTS = ("keys", "entropies", "values")


class ClassCache:
    """Keeps, of each class, the features of least entropy, in ascending order.

    The insertion rule of TDA (Karmanov et al., CVPR 2024): a full class gives up its least certain
    feature for a more certain one; of equal ones the older stays.

    Args:
        classes: how many.
        slots: features that a class keeps.
        like: a tensor ``[..., D]`` whose type, device and width features have.
        width: of a further value that is kept beside each feature; 0 for none.

    Attributes:
        keys: ``[C, K, D]``.
        entropies: ``[C, K]``, infinite where a slot is empty.
        values: ``[C, K, width]``.
    """

    def __init__(self, classes: int, slots: int, like: Tensor, width: int = 0) -> None:
        self.keys = like.new_zeros(classes, slots, like.shape[-1])
        self.entropies = like.new_full((classes, slots), torch.inf)
        self.values = like.new_zeros(classes, slots, width)

    def insert(
        self,
        key: Tensor,
        entropy: Tensor,
        label: Tensor,
        value: Tensor | None = None,
        where: Tensor | bool = True,
    ) -> None:
        """Offer a feature ``[D]`` to a class.

        Args:
            key: the feature.
            entropy: of its prediction, a scalar.
            label: of the class, a scalar.
            value: kept beside it ``[width]``.
            where: a scalar; whether it is offered at all.
        """
        label = label.reshape(1)
        entropies = self.entropies.index_select(0, label)[0]
        better = (entropy < entropies[-1]) & where
        last = torch.where(better, entropy, entropies[-1])
        entropies, order = torch.cat([entropies[:-1], last[None]]).sort(stable=True)
        self.entropies.index_copy_(0, label, entropies[None])
        self._put(self.keys, key, better, label, order)
        if value is not None:
            self._put(self.values, value, better, label, order)

    def _put(self, kept: Tensor, new: Tensor, better: Tensor, label: Tensor, order: Tensor) -> None:
        row = kept.index_select(0, label)[0]
        last = torch.where(better, new, row[-1])
        row = torch.cat([row[:-1], last[None]]).index_select(0, order)
        kept.index_copy_(0, label, row[None])

    def affinities(self, feature: Tensor, sharpness: float) -> Tensor:
        """Return ``exp(-sharpness (1 - f k))`` ``[C, K]`` of a feature ``[D]``, 0 where empty."""
        weights = (sharpness * (self.keys @ feature - 1)).exp()
        return torch.where(self.entropies.isfinite(), weights, 0)

    def state_dict(self) -> dict[str, Any]:
        """Return copies of all that is kept."""
        return {name: getattr(self, name).clone() for name in _PARTS}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state_dict`."""
        for name in _PARTS:
            getattr(self, name).copy_(state[name])
