"""The source model, not adapted: the baseline of every table."""

from __future__ import annotations

from torch import Tensor

from tta.methods.base import Method


class Source(Method):
    """Predicts with the source model as it was trained."""

    name = "source"
    dense = {}

    def step(self, images: Tensor) -> Tensor:
        return self.predict(images)
