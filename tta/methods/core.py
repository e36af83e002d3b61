"""Core: pairwise class correlation online optimisation, on top of alpha-BN (reconstructed)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from tta.methods.base import Method, Need, descend, make_optimizer, trainable
from tta.methods.params import OptimizerParams, param
from tta.ops.losses import class_correlation
from tta.ops.norm.batch_norm import AdaptiveBatchNorm, replace_batch_norm, require_source_statistics
from tta.ops.parameters import norm_affine_parameters


class Core(Method):
    """Minimises the correlation between classes in a batch's predictions; a reconstruction.

    The paper's abstract names the parts: alpha-BN statistics and an unsupervised loss on the
    pairwise correlation of classes, optimised online. Its formula, its optimiser and its tables
    were not to be had: the loss here is the cosine between the columns of the prediction matrix
    (see :func:`~tta.ops.losses.class_correlation`), the optimiser is Tent's, and tables mark the
    method ``core*``. Figures are not the paper's.

    The affine parameters of norm layers are trained, in a backbone that mixes kinds those of layer
    and group norm too; gradients flow through the batch's share of the batch-norm statistics, and
    the source's share is constant.

    Of segmentation the rows of the prediction matrix are all pixels of the batch.
    """

    name = "core"
    capturable = True
    dense = {"optimizer": "sgd", "lr": 2.5e-4}
    title = "core*"
    paper = "You et al., Test-time batch statistics calibration, 2021 (loss reconstructed)"
    state = ("parameters", "optimizer")

    @dataclass(frozen=True)
    class Params(OptimizerParams):
        """Hyper-parameters."""

        target_weight: float = param(
            0.1, "weight of the test batch's statistics", minimum=0.0, maximum=1.0
        )
        norm: str = param(
            "cosine", "how class correlations are normalised", choices=("cosine", "row", "none")
        )

    @classmethod
    def needs(cls, params: Any) -> frozenset[Need]:
        return frozenset({Need.BATCH_NORM, Need.NORM_AFFINE})

    def configure(self) -> None:
        require_source_statistics(self.backbone)
        replace_batch_norm(self.backbone, self._layer)
        self.parameters = trainable(norm_affine_parameters(self.backbone))
        self.optimizer = make_optimizer(self.parameters, self.params)

    def _layer(self, layer: _BatchNorm) -> AdaptiveBatchNorm:
        return AdaptiveBatchNorm(layer, self.params.target_weight)

    def step(self, images: Tensor) -> Tensor:
        logits = self.backbone(images)
        descend(self.optimizer, class_correlation(logits, self.params.norm))
        return logits.detach()
