"""The source model, not adapted: the baseline of every table."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from tta.methods.base import Method


class Source(Method):
    """Predicts with the source model as it was trained."""

    name = "source"
    capturable = True
    dense = {}

    @classmethod
    def keeps_network(cls, params: Any) -> bool:
        return True

    def step(self, images: Tensor) -> Tensor:
        return self.predict(images)
