"""STAMP: stable memory replay against outliers on the stream."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tta.backbones.stages import early_norm_parameters
from tta.methods.base import Method, Need, make_optimizer, trainable
from tta.methods.params import OptimizerParams, param
from tta.methods.stamp_memory import StableBank
from tta.ops.losses import damped_entropy, entropy
from tta.ops.norm.batch_norm import replace_batch_norm
from tta.ops.selection import entropy_margin
from tta.ops.sharpness import descend_sharply
from tta.ops.views.augment import CottaAugment
from tta.ops.views.augmix import shifted_and_flipped

_EPSILON = 1e-5
"""Inside the published entropy's logarithm."""


class Stamp(Method):
    """Predicts by the mean over augmented views and adapts on a memory of reliable images.

    An image is reliable where the mean prediction of its views is of low entropy and, with
    ``agreement``, its own class is that of the source network on the batch's statistics. The
    memory is balanced over classes. After each batch one step is taken on all of it, at the worst
    point near the affine parameters, on entropies that weigh ``exp(-entropy)``, the gradient
    through the weights included. The learning rate falls as a cosine for ``decay_steps`` steps and
    rises as such again (Yu et al., ECCV 2024). Outputs are the mean probabilities before the step;
    what looks known is judged by minus their entropy. ``predict`` asks the plain image, without
    views: what estimates and evidence ask is therefore not quite what is judged.

    Every view of every image has a draw of its own.
    """

    name = "stamp"
    title = "STAMP"
    paper = "Yu et al., STAMP: outlier-aware test-time adaptation with stable memory, ECCV 2024"
    outputs = "probabilities"
    state = ("parameters", "optimizer", "bank", "steps")

    @dataclass(frozen=True)
    class Params(OptimizerParams):
        """Hyper-parameters; the defaults are those for CIFAR-10-C with SVHN."""

        optimizer: str = param("sgd", "optimiser", choices=("adam", "sgd"))
        lr: float = param(0.05, "learning rate at the start", minimum=0.0)
        momentum: float = param(0.0, "momentum (SGD) or beta1 (Adam)", minimum=0.0, below=1.0)
        nesterov: bool = param(False, "Nesterov momentum (SGD)")
        decay_steps: int = param(
            150, "steps until the learning rate is 0, the first time", unit="steps", minimum=1
        )
        margin: float = param(
            0.45, "alpha: entropy of reliable images, as a fraction of ln C", minimum=0.0
        )
        agreement: bool = param(True, "keep only images of which the source predicts the same")
        views: int = param(
            15, "augmented views beside the image", unit="views", minimum=0, maximum=4096
        )
        augmentation: str = param(
            "cotta", "views of CoTTA, or shifted by 4 pixels and flipped", choices=("cotta", "crop")
        )
        memory_size: int = param(
            64, "images in the memory", unit="images", minimum=1, maximum=1_000_000
        )
        radius: float = param(0.05, "rho: length of the way uphill", minimum=0.0)
        frozen_share: float = param(
            0.25, "share of the last stages that is not trained", minimum=0.0, maximum=0.75
        )

    @classmethod
    def needs(cls, params: Any) -> frozenset[Need]:
        return frozenset({Need.NORM_AFFINE})

    def configure(self) -> None:
        replace_batch_norm(self.backbone)
        self.source = self.backbone.clone()
        self.parameters = trainable(early_norm_parameters(self.backbone, self.params.frozen_share))
        self.optimizer = make_optimizer(self.parameters, self.params)
        self.bank = StableBank(
            self.params.memory_size, self.backbone.num_classes, self.backbone.mean.device
        )
        self.margin = entropy_margin(self.params.margin, self.backbone.num_classes)
        self.augment = CottaAugment()
        self.steps = 0

    def step(self, images: Tensor) -> Tensor:
        logits, p = self._look(images)
        self.bank.insert(images, logits, self._reliable(images, logits, p), self.generator)
        if len(self.bank.occupied_slots()):
            self._adapt()
        return p

    @torch.no_grad()
    def _look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the images' logits, and mean probabilities over them and their views."""
        logits = self.backbone(images)
        p = logits.softmax(1)
        for _ in range(self.params.views):
            p = p + self.backbone(self._view(images)).softmax(1)
        return logits, p / (1 + self.params.views)

    def _view(self, images: Tensor) -> Tensor:
        if self.params.augmentation == "crop":
            return shifted_and_flipped(images, self.generator)
        return torch.cat([self.augment(image, self.generator) for image in images.split(1)])

    @torch.no_grad()
    def _reliable(self, images: Tensor, logits: Tensor, p: Tensor) -> Tensor:
        certain = damped_entropy(p, _EPSILON) < self.margin
        if not self.params.agreement:
            return certain
        return certain & (logits.argmax(1) == self.source(images).argmax(1))

    def _adapt(self) -> None:
        images = self.bank.use()
        for group in self.optimizer.param_groups:
            turn = math.pi * self.steps / self.params.decay_steps
            group["lr"] = self.params.lr * (1 + math.cos(turn)) / 2
        descend_sharply(
            self.optimizer,
            self.parameters,
            lambda: self_weighted_entropy(self.backbone(images), self.params.memory_size),
            self.params.radius,
        )
        self.steps += 1

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        """Return probabilities of the images themselves, without views."""
        return self.backbone(images).softmax(1)

    def score(self, outputs: Tensor) -> Tensor:
        return -damped_entropy(outputs, _EPSILON)


def self_weighted_entropy(logits: Tensor, scale: float) -> Tensor:
    """Return ``mean_i(scale * w_i H_i)``, a scalar, w being the softmax of minus the entropies.

    Args:
        logits: ``[n, C]``.
        scale: the published factor is the capacity of the memory, also where it holds fewer.
    """
    entropies = entropy(logits)
    return (scale * (-entropies).softmax(0) * entropies).mean()
