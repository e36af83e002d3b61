"""AdaContrast: contrastive test-time adaptation, online."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tta.methods.base import Method, descend, make_optimizer, trainable
from tta.methods.params import OptimizerParams, param, trained_param
from tta.methods.trained import trained_parameters
from tta.ops.contrastive import queue_contrastive_loss
from tta.ops.ema import ema_update
from tta.ops.losses import entropy
from tta.ops.norm.batch_norm import (
    EmaBatchNorm,
    following,
    replace_batch_norm,
    require_source_statistics,
)
from tta.ops.support import ring_write
from tta.ops.views.moco_augment import MocoAugment, flip_at_random

RUNNING_MOMENTUM = 0.1
"""Of batch-norm statistics: PyTorch's, which the released networks have."""

MAX_GRADIENT_NORM = 1000.0
"""Longer gradients are shortened: a step would leave the running statistics behind for good."""


class AdaContrast(Method):
    """Learns pseudo-labels that neighbours refine, and to tell images apart (CVPR 2022).

    A weak view (mirrored) gives the pseudo-label: the class of greatest mean probability among
    its nearest neighbours in a bank of earlier images, as the momentum encoder saw their weak
    views; for the first ``refine_after`` images the own prediction. A strong view q learns it by
    cross-entropy, is pulled to another strong view k of the same image, as the momentum encoder
    sees it, and pushed from a queue of earlier keys with other pseudo-labels; and the batch's
    mean prediction on q shall be of great entropy. All parameters are trained.

    Training passes use batch statistics and move the running ones; outputs are those of the
    model after the update, with running statistics, on the image itself. The weak view mirrors
    alone, and ``crop`` is off, as published for images that come in the network's size.

    A guard that is not in the paper: a gradient of norm above 1000 is scaled down to it.

    ``compat`` repeats a slip of the released code: the queue's oldest entries already have the
    labels of the keys that will take their places when the loss asks which entries to leave out.
    """

    name = "adacontrast"
    paper = "Chen et al., Contrastive test-time adaptation, CVPR 2022"
    predicts = "after"
    state = (
        "parameters",
        "teacher_parameters",
        "optimizer",
        "statistics",
        "queue",
        "queue_labels",
        "bank",
        "bank_probabilities",
        "seen",
    )

    @dataclass(frozen=True)
    class Params(OptimizerParams):
        """Hyper-parameters; the defaults are those for CIFAR and ImageNet-C."""

        optimizer: str = param("sgd", "optimiser", choices=("adam", "sgd"))
        lr: float = param(2e-4, "learning rate", minimum=0.0)
        weight_decay: float = param(1e-4, "weight decay", minimum=0.0)
        head_lr_factor: float = param(
            1.0, "learning rate of classifier and bottleneck, over the others'", minimum=0.0
        )
        lambda_pseudo_label: float = param(1.0, "weight of the cross-entropy", minimum=0.0)
        lambda_contrastive: float = param(1.0, "weight of the contrastive loss", minimum=0.0)
        lambda_diversity: float = param(1.0, "weight of the mean prediction's entropy", minimum=0.0)
        temperature: float = param(0.07, "temperature of the contrastive loss", minimum=1e-6)
        teacher_decay: float = param(
            0.999, "EMA decay of the momentum encoder", minimum=0.0, maximum=1.0
        )
        queue_size: int = param(
            16_384, "size of queue and bank", unit="images", minimum=1, maximum=1_000_000
        )
        neighbors: int = param(
            10, "neighbours that a pseudo-label is the mean of", minimum=1, maximum=10_000
        )
        refine_after: int = param(1024, "refine labels after so many", unit="images", minimum=1)
        crop: bool = param(False, "crop the strong views at random, by 20 to 100 % of the area")
        trained: str = trained_param()
        compat: bool = param(False, "leave out of the queue as the released code does")

    def configure(self) -> None:
        require_source_statistics(self.backbone)
        self.teacher = self.backbone.clone()
        replace_batch_norm(self.teacher)
        self.layers = replace_batch_norm(self.backbone, self._layer)
        self.statistics = [tensor for layer in self.layers for tensor in layer.source_moments]
        trained = self.params.trained
        self.parameters = trainable(trained_parameters(self.backbone, trained))
        self.teacher_parameters = trained_parameters(self.teacher, trained)
        self.optimizer = self._optimizer()
        self.strong = MocoAugment(crop=(0.2, 1.0) if self.params.crop else None)
        self._make_memories()

    def _layer(self, layer: _BatchNorm) -> EmaBatchNorm:
        return EmaBatchNorm(layer, RUNNING_MOMENTUM)

    def _optimizer(self) -> torch.optim.Optimizer:
        bottleneck = getattr(self.backbone.model, "bottleneck", nn.Identity())
        last = [*self.backbone.classifier.parameters(), *bottleneck.parameters()]
        trained = set(self.parameters)
        head = [parameter for parameter in last if parameter in trained]
        rest = [parameter for parameter in self.parameters if parameter not in set(head)]
        optimizer = make_optimizer(rest, self.params)
        optimizer.add_param_group(
            {"params": head, "lr": self.params.lr * self.params.head_lr_factor}
        )
        optimizer.register_step_pre_hook(self._clip)
        return optimizer

    def _clip(self, *_: Any) -> None:
        nn.utils.clip_grad_norm_(self.parameters, MAX_GRADIENT_NORM, foreach=True)

    def _make_memories(self) -> None:
        size, classes = self.params.queue_size, self.backbone.num_classes
        device = self.parameters[0].device
        queue = torch.randn(size, self.backbone.feature_dim, generator=self.generator)
        self.queue = F.normalize(queue, dim=1).to(device)
        self.queue_labels = torch.randint(classes, (size,), generator=self.generator).to(device)
        self.bank = torch.zeros_like(self.queue)
        self.bank_probabilities = self.queue.new_zeros(size, classes)
        self.seen = 0

    def step(self, images: Tensor) -> Tensor:
        with following(self.layers):
            self._adapt(images)
        return self.predict(images)

    def _adapt(self, images: Tensor) -> None:
        weak = flip_at_random(images, self.generator)
        labels = self._pseudo_labels(weak)
        ema_update(self.teacher_parameters, self.parameters, self.params.teacher_decay)
        keys, _ = self._teach(self.strong(images, self.generator))
        if self.params.compat:
            ring_write(self.queue_labels, labels, self.seen)
        descend(self.optimizer, self._loss(self.strong(images, self.generator), keys, labels))
        self._remember(keys, labels, *self._teach(weak))

    @torch.no_grad()
    def _pseudo_labels(self, weak: Tensor) -> Tensor:
        features = self.backbone.features(weak)
        if self.seen < self.params.refine_after:
            return self.backbone.head(features).argmax(1)
        filled = min(self.seen, self.params.queue_size)
        similarity = F.normalize(features, dim=1) @ self.bank[:filled].T
        nearest = similarity.topk(min(self.params.neighbors, filled)).indices
        return self.bank_probabilities[nearest].mean(1).argmax(1)

    @torch.no_grad()
    def _teach(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the momentum encoder's features, of unit norm, and probabilities."""
        features = self.teacher.features(images)
        return F.normalize(features, dim=1), self.teacher.head(features).softmax(1)

    def _loss(self, images: Tensor, keys: Tensor, labels: Tensor) -> Tensor:
        features = self.backbone.features(images)
        logits = self.backbone.head(features)
        contrastive = queue_contrastive_loss(
            F.normalize(features, dim=1),
            keys,
            self.queue,
            self.queue_labels == labels[:, None],
            self.params.temperature,
        )
        log_mean = logits.log_softmax(1).logsumexp(0, keepdim=True)
        return (
            self.params.lambda_pseudo_label * F.cross_entropy(logits, labels)
            + self.params.lambda_contrastive * contrastive
            - self.params.lambda_diversity * entropy(log_mean).sum()
        )

    def _remember(self, keys: Tensor, labels: Tensor, features: Tensor, p: Tensor) -> None:
        memories = (self.queue, self.queue_labels, self.bank, self.bank_probabilities)
        for memory, rows in zip(memories, (keys, labels, features, p), strict=True):
            ring_write(memory, rows, self.seen)
        self.seen += len(keys)
