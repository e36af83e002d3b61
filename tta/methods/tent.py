"""Tent: fully test-time adaptation by entropy minimisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from tta.methods.base import Method, Need, descend, make_optimizer, trainable
from tta.methods.params import OptimizerParams
from tta.ops.batch_norm import replace_batch_norm
from tta.ops.losses import entropy
from tta.ops.parameters import norm_affine_parameters


class Tent(Method):
    """Minimises the entropy of its predictions over the affine parameters of norm layers.

    Batch-norm layers use the statistics of the test batch; the outputs of a batch are those of
    the forward pass that the update is computed from (Wang et al., ICLR 2021).
    """

    name = "tent"
    paper = "Wang et al., Tent: fully test-time adaptation by entropy minimization, ICLR 2021"
    state = ("parameters", "optimizer")

    @dataclass(frozen=True)
    class Params(OptimizerParams):
        """Hyper-parameters."""

    @classmethod
    def needs(cls, params: Any) -> frozenset[Need]:
        return frozenset({Need.NORM_AFFINE})

    def configure(self) -> None:
        replace_batch_norm(self.backbone)
        self.parameters = trainable(norm_affine_parameters(self.backbone))
        self.optimizer = make_optimizer(self.parameters, self.params)

    def step(self, images: Tensor) -> Tensor:
        logits = self.backbone(images)
        descend(self.optimizer, entropy(logits).mean())
        return logits.detach()
