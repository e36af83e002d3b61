"""BN-EMA: batch-norm statistics that follow the stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from tta.methods.base import Method, Need
from tta.methods.params import param
from tta.ops.norm.batch_norm import (
    EmaBatchNorm,
    following,
    replace_batch_norm,
    require_source_statistics,
)


class BatchNormEma(Method):
    """Moves the running statistics towards each batch, then normalises with them.

    Two forward passes: the first, on batch statistics, updates the running ones layer by layer
    (unbiased variance, as PyTorch's training mode does); the second predicts with the result.
    """

    name = "bn_ema"
    dense = {}
    paper = "Schneider et al., Improving robustness against common corruptions, NeurIPS 2020"
    predicts = "after"
    state = ("statistics",)

    @dataclass(frozen=True)
    class Params:
        """Hyper-parameters."""

        momentum: float = param(
            0.1, "step of the running statistics to each batch's", minimum=0.0, maximum=1.0
        )

    @classmethod
    def needs(cls, params: Any) -> frozenset[Need]:
        return frozenset({Need.BATCH_NORM})

    def configure(self) -> None:
        require_source_statistics(self.backbone)
        self.layers = replace_batch_norm(self.backbone, self._layer)
        self.statistics = [tensor for layer in self.layers for tensor in layer.source_moments]

    def _layer(self, layer: _BatchNorm) -> EmaBatchNorm:
        return EmaBatchNorm(layer, self.params.momentum)

    @torch.no_grad()
    def step(self, images: Tensor) -> Tensor:
        with following(self.layers):
            self.backbone(images)
        return self.backbone(images)
