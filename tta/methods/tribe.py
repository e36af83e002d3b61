"""TRIBE: tri-net self-training with balanced normalisation."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from tta.backbones.backbone import Backbone
from tta.methods.base import Method, Need, descend, make_optimizer, trainable
from tta.methods.params import OptimizerParams, param
from tta.ops.losses import entropy
from tta.ops.maps import over_pixels
from tta.ops.norm.balanced import BalancedBatchNorm, balanced_layers, members_of, telling
from tta.ops.norm.batch_norm import replace_batch_norm, require_source_statistics
from tta.ops.parameters import norm_affine_parameters
from tta.ops.selection import entropy_margin, selected_mean
from tta.ops.views.augment import CottaAugment


class Tribe(Method):
    """Trains a student on an auxiliary network's labels, both with balanced batch norm.

    There are three networks, each with class-wise statistics of its own: the student, the
    auxiliary one, which shares the student's parameters, and the source's. The auxiliary network
    predicts, with the statistics as they are; these predictions are the outputs, and tell all
    three the classes of the batch. Then statistics move: to the images in the auxiliary and the
    source's network, to an augmented view in the student. Where the auxiliary one is certain, the
    student learns its labels, while its logits stay near the source's. Affine parameters of norm
    layers are trained (Su et al., AAAI 2024).

    Statistics move whether or not anything is certain; where nothing is, no step is taken, which
    ends in NaN in the published code. That treats ``[B, C, L]`` unlike ``[B, C, H, W]``: the
    shared move (gamma) is lost to the statistics of classes; here both are alike. Statistics are of
    every class and channel, in three networks: 640 MB for a ResNet-50 of 1,000 classes.
    """

    name = "tribe"
    title = "TRIBE"
    paper = "Su et al., Towards real-world test-time adaptation: tri-net self-training, AAAI 2024"
    state = ("parameters", "optimizer", "statistics")

    @dataclass(frozen=True)
    class Params(OptimizerParams):
        """Hyper-parameters; the defaults are the authors' for CIFAR-10."""

        class_momentum: float = param(
            0.01,
            "eta: step of a class's statistics to each of its images; 0.0005 C or so",
            minimum=1e-6,
            maximum=1.0,
        )
        shared: float = param(
            0.0, "gamma: share of a step that all classes make", minimum=0.0, maximum=1.0
        )
        margin: float = param(
            0.05, "H_0: entropy above which nothing is learnt, as a fraction of ln C", minimum=0.0
        )
        anchor_weight: float = param(
            0.5, "lambda: weight of the distance to the source's logits", minimum=0.0
        )

    @classmethod
    def needs(cls, params: Any) -> frozenset[Need]:
        return frozenset({Need.BATCH_NORM, Need.NORM_AFFINE})

    def configure(self) -> None:
        require_source_statistics(self.backbone)
        replace_batch_norm(self.backbone, self._layer)
        self.anchor = self.backbone.clone()
        self.auxiliary = _sharing_parameters(self.backbone)
        self.layers = balanced_layers(self.auxiliary, self.backbone, self.anchor)
        self.statistics = [tensor for layer in self.layers for tensor in layer.statistics]
        self.parameters = trainable(norm_affine_parameters(self.backbone))
        self.optimizer = make_optimizer(self.parameters, self.params)
        self.margin = entropy_margin(self.params.margin, self.backbone.num_classes)
        self.augment = CottaAugment()

    def _layer(self, layer: _BatchNorm) -> BalancedBatchNorm:
        params = self.params
        return BalancedBatchNorm(
            layer, self.backbone.num_classes, params.class_momentum, params.shared
        )

    def step(self, images: Tensor) -> Tensor:
        outputs = self.predict(images)
        finite = outputs.isfinite().all(1)
        # Not those that hold no numbers: NaN times a gradient of zero is NaN.
        images = torch.where(over_pixels(finite, images), images, 0)
        members = members_of(outputs.argmax(1), finite, self.backbone.num_classes)
        with telling(self.layers, members):
            losses, certain = self._losses(images)
        certain = certain & finite
        # Waits for the device: Adam would go on by its moments where nothing is certain.
        if certain.any():
            descend(self.optimizer, selected_mean(losses, certain))
        return outputs

    def _losses(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return a loss per image ``[B]``, and whether it is learnt from."""
        view = self.augment(images, self.generator)
        auxiliary, student = self.auxiliary(images), self.backbone(view)
        with torch.no_grad():
            anchor = self.anchor(images)
        distance = (auxiliary - anchor).square().mean(1)
        losses = F.cross_entropy(student, auxiliary.argmax(1), reduction="none")
        losses = losses + self.params.anchor_weight * distance
        return losses, entropy(auxiliary.detach()) < self.margin

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        return self.auxiliary(images)


def _sharing_parameters(backbone: Backbone) -> Backbone:
    """Return a copy with buffers of its own and the very same parameters."""
    return copy.deepcopy(backbone, {id(shared): shared for shared in backbone.parameters()})
