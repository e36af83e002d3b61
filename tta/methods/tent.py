"""Tent: fully test-time adaptation by entropy minimisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from tta.methods.base import Method, Need, descend, make_optimizer, trainable
from tta.methods.params import OptimizerParams, param
from tta.ops.losses import UNCERTAINTY
from tta.ops.norm.batch_norm import replace_batch_norm
from tta.ops.parameters import norm_affine_parameters
from tta.tasks.known_scores import belief


@dataclass(frozen=True)
class EntropyParams(OptimizerParams):
    """Hyper-parameters of the methods that minimise entropy.

    COME's script scales the learning rate with the batch size B, which nothing does here: for
    ResNets 2.5e-4, times B / 32 below 32; for ViT-B 1e-3, times B / 64.
    """

    loss: str = param(
        "entropy",
        "what is minimised and judges reliability; come is that of Zhang et al., ICLR 2025",
        choices=tuple(UNCERTAINTY),
    )


class Tent(Method):
    """Minimises the entropy of its predictions over the affine parameters of norm layers.

    Batch-norm layers use the statistics of the test batch; the outputs of a batch are those of
    the forward pass that the update is computed from (Wang et al., ICLR 2021).
    """

    name = "tent"
    capturable = True
    dense = {"optimizer": "sgd", "lr": 2.5e-4}
    paper = "Wang et al., Tent: fully test-time adaptation by entropy minimization, ICLR 2021"
    state = ("parameters", "optimizer")

    @dataclass(frozen=True)
    class Params(EntropyParams):
        """Hyper-parameters."""

    @classmethod
    def needs(cls, params: Any) -> frozenset[Need]:
        return frozenset({Need.NORM_AFFINE})

    def configure(self) -> None:
        self.layers = replace_batch_norm(self.backbone)
        self.parameters = trainable(self.adapted_parameters())
        self.optimizer = make_optimizer(self.parameters, self.params)

    def adapted_parameters(self) -> list[nn.Parameter]:
        """Return the parameters to train."""
        return norm_affine_parameters(self.backbone)

    def step(self, images: Tensor) -> Tensor:
        logits = self.backbone(images)
        descend(self.optimizer, self.loss(logits))
        return logits.detach()

    def loss(self, logits: Tensor) -> Tensor:
        """Return what the step minimises, a scalar."""
        return self.uncertainty(logits).mean()

    def uncertainty(self, logits: Tensor) -> Tensor:
        """Return the entropy ``[B]`` that ``loss`` names, of logits ``[B, C]``."""
        return UNCERTAINTY[self.params.loss](logits)

    @property
    def has_own_score(self) -> bool:
        return type(self).score is not Tent.score or self._scores_belief

    @property
    def _scores_belief(self) -> bool:
        return isinstance(self.params, EntropyParams) and self.params.loss == "come"

    def score(self, outputs: Tensor) -> Tensor:
        return belief(outputs) if self._scores_belief else super().score(outputs)
