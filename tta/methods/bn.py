"""BN-1: batch normalisation with the statistics of the test batch alone."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from tta.methods.base import Method, Need
from tta.ops.norm.batch_norm import replace_batch_norm


class BatchNormOne(Method):
    """Normalises every batch with its own mean and (biased) variance; trains nothing."""

    name = "bn"
    capturable = True
    dense = {}
    paper = "Nado et al., Evaluating prediction-time batch normalization, 2020"

    @classmethod
    def needs(cls, params: Any) -> frozenset[Need]:
        return frozenset({Need.BATCH_NORM})

    def configure(self) -> None:
        replace_batch_norm(self.backbone)

    def step(self, images: Tensor) -> Tensor:
        return self.predict(images)
