"""SoTTA: screened, sharpness-aware entropy minimisation on noisy streams."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from tta.backbones.stages import early_norm_parameters
from tta.methods.banked import Banked
from tta.methods.base import Need, make_optimizer, trainable
from tta.methods.params import OptimizerParams, param
from tta.methods.sotta_memory import ConfidentBank
from tta.ops.losses import damped_entropy
from tta.ops.norm.batch_norm import (
    EmaBatchNorm,
    following,
    replace_batch_norm,
    require_source_statistics,
)
from tta.ops.sharpness import descend_sharply

_EPSILON = 1e-6
"""Inside the published entropy's logarithm."""


class Sotta(Banked):
    """Minimises entropy, at the worst point nearby, on a bank of confident images.

    Images far from every class are seldom confident, so that few of them enter the bank, which is
    balanced over the predicted classes. It predicts with running statistics, each image by
    itself; after every ``update_interval``-th image, also amid a batch, affine parameters of norm
    layers take one step on the bank, and the running statistics follow it in both of the step's
    forward passes. What is predicted therefore does not depend on the size of batches. While the
    bank is empty nothing is adapted (Gong et al., NeurIPS 2023).
    """

    name = "sotta"
    title = "SoTTA"
    paper = "Gong et al., SoTTA: robust test-time adaptation on noisy data streams, NeurIPS 2023"
    state = ("parameters", "statistics", "optimizer", "bank", "seen")

    @dataclass(frozen=True)
    class Params(OptimizerParams):
        """Hyper-parameters; the defaults are those for CIFAR-10."""

        confidence_threshold: float = param(
            0.99, "C_0: least confidence of an image in the bank", minimum=0.0, maximum=1.0
        )
        memory_size: int = param(
            64, "images in the bank", unit="images", minimum=1, maximum=1_000_000
        )
        update_interval: int = param(
            64, "images from one update to the next", unit="images", minimum=1
        )
        statistics_momentum: float = param(
            0.2, "step of the running statistics to the bank's", minimum=0.0, maximum=1.0
        )
        radius: float = param(0.05, "rho: length of the way uphill", minimum=0.0)
        frozen_share: float = param(
            0.25, "share of the last stages that is not trained", minimum=0.0, maximum=0.75
        )

    @classmethod
    def needs(cls, params: Any) -> frozenset[Need]:
        return frozenset({Need.NORM_AFFINE})

    def configure(self) -> None:
        require_source_statistics(self.backbone)
        self.layers = replace_batch_norm(self.backbone, self._layer)
        self.statistics = [tensor for layer in self.layers for tensor in layer.source_moments]
        self.parameters = trainable(early_norm_parameters(self.backbone, self.params.frozen_share))
        self.optimizer = make_optimizer(self.parameters, self.params)
        self.bank = ConfidentBank(
            self.params.memory_size,
            self.backbone.num_classes,
            self.params.confidence_threshold,
            self.backbone.mean.device,
        )
        self.seen = 0

    def _layer(self, layer: _BatchNorm) -> EmaBatchNorm:
        return EmaBatchNorm(layer, self.params.statistics_momentum)

    def learn(self, images: Tensor) -> None:
        with following(self.layers):
            descend_sharply(
                self.optimizer,
                self.parameters,
                lambda: damped_entropy(self.backbone(images).softmax(1), _EPSILON).mean(),
                self.params.radius,
            )
