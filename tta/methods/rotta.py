"""RoTTA: robust test-time adaptation in dynamic scenarios."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from tta.backbones.backbone import Backbone
from tta.methods.base import Method, Need, descend, make_optimizer, trainable
from tta.methods.params import OptimizerParams, param
from tta.ops.ema import ema_update
from tta.ops.losses import soft_cross_entropy
from tta.ops.memory import TimelyBank, arrivals_until_due
from tta.ops.norm.batch_norm import (
    RobustBatchNorm,
    following,
    replace_batch_norm,
    require_source_statistics,
)
from tta.ops.parameters import norm_affine_parameters
from tta.ops.views.augment import CottaAugment


@dataclass(frozen=True)
class MemoryParams(OptimizerParams):
    """Hyper-parameters of the methods that adapt on a bank of timely, balanced images."""

    memory_size: int = param(64, "images in the bank", unit="images", minimum=1, maximum=1_000_000)
    statistics_momentum: float = param(
        0.05, "step of the running statistics to the bank's", minimum=0.0, maximum=1.0
    )
    age_weight: float = param(1.0, "lambda_t: weight of an image's age", minimum=0.0)
    uncertainty_weight: float = param(1.0, "lambda_u: weight of its entropy", minimum=0.0)


class Rotta(Method):
    """Trains a student on a balanced bank of recent images, against its mean teacher.

    The teacher predicts, with running statistics, and its predictions balance the bank. After
    every ``update_interval``-th image, also amid a batch, student and teacher see the bank, the
    student an augmented view of it, and the running statistics of both follow. Older images
    weigh less in the loss. Affine parameters of norm layers are trained. Outputs of a batch are
    the teacher's before any update on it (Yuan et al., CVPR 2023).
    """

    name = "rotta"
    paper = "Yuan et al., Robust test-time adaptation in dynamic scenarios, CVPR 2023"
    state = ("parameters", "teacher_parameters", "statistics", "optimizer", "bank", "seen")

    @dataclass(frozen=True)
    class Params(MemoryParams):
        """Hyper-parameters."""

        update_interval: int = param(
            64, "images from one update to the next", unit="images", minimum=1
        )
        teacher_decay: float = param(0.999, "EMA decay per update", minimum=0.0, maximum=1.0)

    @classmethod
    def needs(cls, params: Any) -> frozenset[Need]:
        return frozenset({Need.NORM_AFFINE})

    def configure(self) -> None:
        require_source_statistics(self.backbone)
        replace_batch_norm(self.backbone, self._layer)
        self.teacher = self.backbone.clone()
        self.layers = robust_layers(self.backbone) + robust_layers(self.teacher)
        self.statistics = [tensor for layer in self.layers for tensor in layer.source_moments]
        self.teacher_parameters = norm_affine_parameters(self.teacher)
        self.parameters = trainable(norm_affine_parameters(self.backbone))
        self.optimizer = make_optimizer(self.parameters, self.params)
        self.bank = self._bank()
        self.seen = 0
        self.augment = CottaAugment()

    def _layer(self, layer: _BatchNorm) -> RobustBatchNorm:
        return RobustBatchNorm(layer, self.params.statistics_momentum)

    def _bank(self) -> TimelyBank:
        return TimelyBank(
            self.params.memory_size,
            self.backbone.num_classes,
            self.backbone.mean.device,
            self.params.age_weight,
            self.params.uncertainty_weight,
        )

    def step(self, images: Tensor) -> Tensor:
        logits = self.predict(images)
        for part in arrivals_until_due(self.seen, len(images), self.params.update_interval):
            self.bank.insert(images[part], logits[part])
            self.seen += part.stop - part.start
            if self.seen % self.params.update_interval == 0:
                self._update()
        return logits

    def _update(self) -> None:
        slots = self.bank.occupied_slots()
        if len(slots) == 0:
            return
        images = self.bank.images_in(slots)
        weights = torch.sigmoid(-self.bank.age[slots] / self.params.memory_size)
        with following(self.layers):
            targets = self.predict(images)
            logits = self.backbone(self.augment(images, self.generator))
            losses = self.bank.to_device(weights) * soft_cross_entropy(logits, targets)
            descend(self.optimizer, losses.mean())
        ema_update(self.teacher_parameters, self.parameters, self.params.teacher_decay)

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        return self.teacher(images)


def robust_layers(model: Backbone) -> list[RobustBatchNorm]:
    """Return the layers whose statistics follow the stream."""
    return [layer for layer in model.modules() if isinstance(layer, RobustBatchNorm)]
