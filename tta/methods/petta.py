"""PeTTA: persistent test-time adaptation in recurring scenarios."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tta.methods.base import Need, descend
from tta.methods.params import param
from tta.methods.petta_divergence import ClassDivergence, class_mean_update, class_sums
from tta.methods.rotta import MemoryParams, Rotta, robust_layers
from tta.ops.ema import ema_update
from tta.ops.losses import soft_cross_entropy
from tta.ops.memory import predicted_classes
from tta.ops.norm.batch_norm import following
from tta.ops.parameters import MeanCosine, norm_affine_parameters
from tta.source.prototypes import class_moments
from tta.source.source_data import SourceData


class Petta(Rotta):
    """Senses how far the features have diverged from the source's, and holds back by as much.

    After every batch the student is trained on RoTTA's bank: self-training against the teacher,
    cross-entropy of its augmented view against the source model, and a pull of its parameters
    back to the source's. With the divergence g in [0, 1) of the running class means of the
    teacher's features from the source's, the pull weighs ``g * lambda_0`` and the teacher moves by
    ``(1 - g) * alpha_0``. Outputs are the teacher's before the update (Hoang et al.,
    NeurIPS 2024).

    Means and variances of the source's features are by predicted class, so labels are not
    needed. They are of the source images, which a model was trained on; the authors' are of a
    validation set, which a source here need not have. The batch-norm statistics of the source
    model follow the bank too, as in the authors' code; its weights stay.
    """

    name = "petta"
    paper = "Hoang et al., Persistent test-time adaptation in recurring scenarios, NeurIPS 2024"
    state = (
        "parameters",
        "teacher_parameters",
        "statistics",
        "optimizer",
        "bank",
        "class_means",
    )
    prepared = ("source_means", "source_variances", "source_counts")

    @dataclass(frozen=True)
    class Params(MemoryParams):
        """Hyper-parameters; the defaults are those for CIFAR."""

        teacher_rate: float = param(
            1e-3, "alpha_0: EMA step of the teacher without divergence", minimum=0.0, maximum=1.0
        )
        source_pull: float = param(
            10.0, "lambda_0: weight of the cosine to source parameters", minimum=0.0
        )
        source_weight: float = param(
            1.0, "weight of the cross-entropy against the source model", minimum=0.0
        )
        feature_momentum: float = param(
            0.05, "step of a class's mean feature to a batch's", minimum=0.0, maximum=1.0
        )
        symmetric: bool = param(
            True, "symmetric cross-entropy on both views, not the augmented view's alone"
        )

    @classmethod
    def needs(cls, params: Any) -> frozenset[Need]:
        return frozenset({Need.NORM_AFFINE, Need.SOURCE_AT_PREPARE})

    def configure(self) -> None:
        super().configure()
        self.anchor = self.teacher.clone()
        self.layers += robust_layers(self.anchor)
        self.statistics = [tensor for layer in self.layers for tensor in layer.source_moments]
        self.cosine = MeanCosine(norm_affine_parameters(self.anchor))
        shape = self.backbone.num_classes, self.backbone.feature_dim
        self.class_means = self.backbone.mean.new_zeros(shape)

    def prepare(self, source: SourceData) -> None:
        moments = class_moments(self._features(source), self.backbone.num_classes)
        self.take_prepared(dict(zip(self.prepared, moments, strict=True)))
        self.class_means = self.source_means.clone()

    def take_prepared(self, tensors: dict[str, Any]) -> None:
        super().take_prepared(tensors)
        self.divergence = ClassDivergence(
            self.source_means, self.source_variances, self.source_counts
        )

    @torch.no_grad()
    def _features(self, source: SourceData) -> Iterator[tuple[Tensor, Tensor]]:
        for images, _ in source.one_pass():
            features = self.anchor.features(images)
            yield features, self.anchor.head(features).argmax(1)

    @torch.no_grad()
    def step(self, images: Tensor) -> Tensor:
        features = self.teacher.features(images)
        logits = self.teacher.head(features)
        labels = predicted_classes(logits)
        self.bank.insert(images, logits, labels)
        divergence = self._diverge(features, labels)
        with torch.enable_grad():
            self._adapt(divergence)
        return logits

    def _diverge(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return the divergence of the predicted classes so far, and take this batch in."""
        sums, counts = class_sums(features, labels, len(self.class_means))
        present = counts > 0
        divergence = self.divergence(self.class_means, present)
        momentum = self.params.feature_momentum
        self.class_means = class_mean_update(self.class_means, sums, counts, present, momentum)
        return divergence

    def _adapt(self, divergence: Tensor) -> None:
        slots = self.bank.occupied_slots()
        if len(slots) == 0:
            return
        with following(self.layers):
            loss = self._loss(self.bank.images_in(slots))
        pull = self.params.source_pull * divergence
        descend(self.optimizer, loss - pull * self.cosine(self.parameters))
        decay = 1 - self.params.teacher_rate * (1 - divergence)
        ema_update(self.teacher_parameters, self.parameters, decay)

    def _loss(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            targets, anchor = self.teacher(images), self.anchor(images)
        with torch.set_grad_enabled(self.params.symmetric):
            plain = self.backbone(images)  # also where only its statistics count
        view = self.backbone(self.augment(images, self.generator))
        if not self.params.symmetric:
            losses = self.params.source_weight * soft_cross_entropy(view, anchor)
            return (losses + soft_cross_entropy(view, targets)).mean()
        return _symmetric_loss(plain, view, targets, anchor, self.params.source_weight)


def _symmetric_loss(
    plain: Tensor, view: Tensor, targets: Tensor, anchor: Tensor, source_weight: float
) -> Tensor:
    """Return the loss of logits ``[B, C]``, its five cross-entropies taken at once.

    Each is a row of its own: gradients then add up in the order in which single ones would. Signs
    and quarters are taken last, as they are exact.
    """
    logits = torch.stack([plain, targets, view, targets, view])
    soft = torch.stack([targets, plain, targets, view, anchor])
    likelihoods = logits.log_softmax(2).mul(soft.softmax(2)).sum(2)
    pairs = likelihoods[0:4:2] + likelihoods[1:4:2]
    against_source = -source_weight * likelihoods[4]
    return against_source.sub(pairs[0] + pairs[1], alpha=0.25).mean()
