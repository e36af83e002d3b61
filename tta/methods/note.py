"""NOTE: non-i.i.d. test-time adaptation with instance-aware batch norm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from tta.methods.banked import Banked
from tta.methods.base import Need, descend, make_optimizer, trainable
from tta.methods.params import OptimizerParams, param
from tta.ops.losses import entropy
from tta.ops.memory import BalancedReservoir
from tta.ops.norm.batch_norm import following, replace_batch_norm, require_source_statistics
from tta.ops.norm.instance_aware import InstanceAwareBatchNorm
from tta.ops.parameters import norm_affine_parameters


class Note(Banked):
    """Minimises entropy on a reservoir that is balanced over the predicted classes.

    The source model must have been trained with instance-aware batch norm. It predicts with
    running statistics, each image by itself; after every ``update_interval``-th image, also amid
    a batch, the affine parameters take one step on the reservoir and the running statistics
    follow it. What is predicted therefore does not depend on the size of batches (Gong et al.,
    NeurIPS 2022).

    The loss is the mean entropy of images. The published code divides it by the number of classes
    C too, which Adam does not mind, but a weight decay does: its 5e-4, which the source training
    leaves on for CIFAR, is ``weight_decay`` C times 5e-4 here (0.005 for 10 classes, 0.05 for 100).

    ``convert_batch_norm`` puts instance-aware layers into any model with batch norm. Figures are
    then not the paper's: a model that was not trained with them loses accuracy by it.
    """

    name = "note"
    paper = "Gong et al., NOTE: robust continual TTA against temporal correlation, NeurIPS 2022"
    state = ("parameters", "statistics", "optimizer", "bank", "seen")

    @dataclass(frozen=True)
    class Params(OptimizerParams):
        """Hyper-parameters."""

        lr: float = param(1e-4, "learning rate", minimum=0.0)
        memory_size: int = param(
            64, "images in the reservoir", unit="images", minimum=1, maximum=1_000_000
        )
        update_interval: int = param(
            64, "images from one update to the next", unit="images", minimum=1
        )
        statistics_momentum: float = param(
            0.01, "step of the running statistics to the reservoir's", minimum=0.0, maximum=1.0
        )
        convert_batch_norm: bool = param(
            False, "accept a source model that was not trained with instance-aware batch norm"
        )

    @classmethod
    def needs(cls, params: Any) -> frozenset[Need]:
        needs = {Need.BATCH_NORM, Need.NORM_AFFINE}
        return frozenset(needs if params.convert_batch_norm else {*needs, Need.INSTANCE_AWARE_NORM})

    def configure(self) -> None:
        require_source_statistics(self.backbone)
        self.layers = replace_batch_norm(self.backbone, self._layer)
        self.statistics = [tensor for layer in self.layers for tensor in layer.source_moments]
        self.parameters = trainable(norm_affine_parameters(self.backbone))
        self.optimizer = make_optimizer(self.parameters, self.params)
        self.bank = BalancedReservoir(
            self.params.memory_size, self.backbone.num_classes, self.backbone.mean.device
        )
        self.seen = 0

    def _layer(self, layer: _BatchNorm) -> InstanceAwareBatchNorm:
        return InstanceAwareBatchNorm(layer, self.params.statistics_momentum)

    def learn(self, images: Tensor) -> None:
        with following(self.layers):
            descend(self.optimizer, entropy(self.backbone(images)).mean())
