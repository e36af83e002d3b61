"""ViDA: adapters of low and of high rank, weighted by how uncertain a batch is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tta.backbones.adapters import (
    HIGH_RANK,
    LOW_RANK,
    MARK,
    adapted_layers,
    insert_adapters,
)
from tta.backbones.backbone import Backbone
from tta.methods.base import Method, Need, descend, make_optimizer, trainable
from tta.methods.cotta_restore import stochastic_restore
from tta.methods.params import OptimizerParams, param
from tta.ops.ema import ema_update
from tta.ops.losses import soft_cross_entropy, symmetric_cross_entropy
from tta.ops.views.augment import CottaAugment


class VisualDomainAdapters(Method):
    """Trains adapters, and slowly the network, to predict what their mean teacher does.

    Beside each linear layer of attention stand a low-rank and a high-rank branch (see
    :mod:`tta.backbones.adapters`). The uncertainty u of a batch is a tenth of the variance of the
    teacher's logits over augmented views. From ``uncertainty_threshold`` on, the domain has
    shifted: high-rank branches, which hold what is specific of domains, count 1 + u, and low-rank
    ones 1 - u; below it is the other way round. Then the student takes a step on the
    cross-entropy to the teacher's logits, which are the outputs, and the teacher follows, at
    its own pace for adapters (Liu et al., ICLR 2024).

    The source model must have been trained with its adapters; ``insert_adapters`` puts fresh ones,
    which change nothing at first, into any vision transformer. Figures are then not the paper's.

    In the released code high-rank branches always count 1, as a test for the low-rank scale shadows
    that for the other: ``compat=True``. For CIFAR, unlike for ImageNet and in the paper, it puts
    a tenth of all weights back to the source after each step: ``restore_rate``; and for ImageNet
    its cross-entropy is symmetric. It leaves the scales as they are at a reset; here they are 1.
    """

    name = "vida"
    paper = "Liu et al., ViDA: homeostatic visual domain adapter for continual TTA, ICLR 2024"
    state = ("parameters", "teacher_parameters", "optimizer", "scales")

    @dataclass(frozen=True)
    class Params(OptimizerParams):
        """Hyper-parameters; the defaults are the authors' for CIFAR-10, without restoration."""

        lr: float = param(1e-4, "learning rate of the network", minimum=0.0)
        adapter_lr: float = param(1e-5, "learning rate of adapters", minimum=0.0)
        teacher_decay: float = param(
            0.999, "EMA decay of the network per step", minimum=0.0, maximum=1.0
        )
        adapter_decay: float = param(
            0.999, "EMA decay of adapters per step", minimum=0.0, maximum=1.0
        )
        uncertainty_threshold: float = param(
            0.05, "uncertainty from which high-rank adapters count more", minimum=0.0
        )
        views: int = param(
            10, "augmented views that uncertainty is told by", minimum=2, maximum=4096
        )
        symmetric: bool = param(
            False, "symmetric cross-entropy, as published for ImageNet, not the teacher's alone"
        )
        restore_rate: float = param(
            0.0, "probability that a weight returns to the source", minimum=0.0, maximum=1.0
        )
        insert_adapters: bool = param(
            False, "accept a source model that was not trained with adapters: put in fresh ones"
        )
        low_rank: int = param(
            LOW_RANK, "rank of fresh low-rank adapters", minimum=1, maximum=65_536
        )
        high_rank: int = param(
            HIGH_RANK, "rank of fresh high-rank adapters", minimum=1, maximum=65_536
        )
        compat: bool = param(False, "scale low-rank adapters alone, as the released code does")

    @classmethod
    def needs(cls, params: Any) -> frozenset[Need]:
        needs = {Need.VISION_TRANSFORMER}
        return frozenset(needs if params.insert_adapters else {*needs, Need.ADAPTERS})

    def configure(self) -> None:
        params = self.params
        if not adapted_layers(self.backbone):
            seed = int(torch.randint(2**63 - 1, (), generator=self.generator))
            insert_adapters(self.backbone.model, params.low_rank, params.high_rank, seed)
        self.teacher = self.backbone.clone()
        self._share_scales()
        network, adapters = _split(self.backbone)
        self.parts, self.teacher_parts = (network, adapters), _split(self.teacher)
        self.parameters = trainable([*network, *adapters])
        self.teacher_parameters = [*self.teacher_parts[0], *self.teacher_parts[1]]
        self.source_parameters = [parameter.detach().clone() for parameter in self.parameters]
        groups = [{"params": network}, {"params": adapters, "lr": params.adapter_lr}]
        self.optimizer = make_optimizer(groups, params)
        self.loss = symmetric_cross_entropy if params.symmetric else soft_cross_entropy
        self.augment = CottaAugment()

    def _share_scales(self) -> None:
        """Let all adapters have the scales of the first."""
        layers = [*adapted_layers(self.backbone), *adapted_layers(self.teacher)]
        self.scales = layers[0].scales
        for layer in layers:
            layer.scales = self.scales

    def step(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            self._allot(self._uncertainty(images))
            targets = self.teacher(images)
        descend(self.optimizer, self.loss(self.backbone(images), targets).mean())
        decays = self.params.teacher_decay, self.params.adapter_decay
        for teacher, student, decay in zip(self.teacher_parts, self.parts, decays, strict=True):
            ema_update(teacher, student, decay)
        stochastic_restore(
            self.parameters, self.source_parameters, self.params.restore_rate, self.generator
        )
        return targets

    def _uncertainty(self, images: Tensor) -> Tensor:
        views = (self.augment(images, self.generator) for _ in range(self.params.views))
        return disagreement(torch.stack([self.teacher(view) for view in views]))

    def _allot(self, uncertainty: Tensor) -> None:
        """Weight the adapters; what is no number leaves them as they are."""
        more = (
            torch.where(uncertainty >= self.params.uncertainty_threshold, 1.0, -1.0) * uncertainty
        )
        high = torch.ones_like(more) if self.params.compat else 1 + more
        scales = torch.stack([1 - more, high])
        self.scales.copy_(torch.where(uncertainty.isfinite(), scales, self.scales))

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        return self.teacher(images)


def disagreement(logits: Tensor) -> Tensor:
    """Return a tenth of the variance over views of logits ``[V, B, C]``, a scalar.

    Unbiased, the mean over images and classes.
    """
    return 0.1 * logits.var(0).mean()


def _split(backbone: Backbone) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return the parameters of the network and those of its adapters."""
    named = list(backbone.named_parameters())
    network = [parameter for name, parameter in named if MARK not in name]
    return network, [parameter for name, parameter in named if MARK in name]
