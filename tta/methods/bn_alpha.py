"""alpha-BN: source statistics calibrated with those of the test batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from tta.methods.base import Method, Need
from tta.methods.params import param
from tta.ops.batch_norm import AdaptiveBatchNorm, replace_batch_norm, require_source_statistics


class AlphaBatchNorm(Method):
    """Mixes source and test-batch statistics in every batch-norm layer; trains nothing.

    You, Li and Zhao (arXiv 2110.04065). Papers disagree on which side their alpha weighs: where
    it weighs the source, ``target_weight = 1 - alpha``; where it weighs the test batch,
    ``target_weight = alpha``. 0 is the source model and 1 is BN-1, both exactly.
    """

    name = "bn_alpha"
    paper = "You et al., Test-time batch statistics calibration for covariate shift, 2021"

    @dataclass(frozen=True)
    class Params:
        """Hyper-parameters."""

        target_weight: float = param(
            0.1, "weight of the test batch's statistics", minimum=0.0, maximum=1.0
        )
        compat: bool = param(
            False, "unbiased batch variance, as in toolboxes that read it from a running buffer"
        )

    @classmethod
    def needs(cls, params: Any) -> frozenset[Need]:
        return frozenset({Need.BATCH_NORM})

    def configure(self) -> None:
        require_source_statistics(self.backbone)
        replace_batch_norm(self.backbone, self._layer)

    def _layer(self, layer: _BatchNorm) -> AdaptiveBatchNorm:
        return AdaptiveBatchNorm(layer, self.params.target_weight, self.params.compat)

    def step(self, images: Tensor) -> Tensor:
        return self.predict(images)
