"""RMT: robust mean teacher for continual and gradual test-time adaptation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tta.foundation.errors import UserError
from tta.methods.base import (
    Method,
    Need,
    backward,
    descend,
    make_optimizer,
    trainable,
    update,
)
from tta.methods.params import OptimizerParams, param, trained_param
from tta.methods.trained import trained_parameters
from tta.ops.contrastive import contrast_with_prototypes, make_projector
from tta.ops.ema import ema_update
from tta.ops.losses import pixel_cross_entropy, symmetric_cross_entropy
from tta.ops.norm.batch_norm import replace_batch_norm
from tta.ops.views.augment import PHOTOMETRIC, CottaAugment
from tta.source.prototypes import source_prototypes
from tta.source.source_data import SourceBatches, SourceData


class RobustMeanTeacher(Method):
    """Trains a student against its mean teacher, drawn to source prototypes (CVPR 2023).

    Loss of a batch x with augmented view T(x): symmetric cross-entropy of both views against
    the teacher, a contrastive term over {nearest source prototype, g(x), g(T(x))}, and
    cross-entropy on a batch of source images. All parameters are trained. Outputs are the sum
    of student and teacher logits before the update.

    Source-free: ``lambda_source=0 warm_up_samples=0``; the prototypes remain, as in the paper.

    Of segmentation the self-training loss is a mean over pixels, and the view changes colours,
    blur and noise alone, so that its pixels are those of the image. There are no prototypes, which
    are of images, and no warm-up: without ``lambda_source`` no source image is read.
    """

    name = "rmt"
    dense = {
        "optimizer": "sgd",
        "lr": 2.5e-4,
        "lambda_contrastive": 0.0,
        "projection_dim": 0,
        "warm_up_samples": 0,
    }
    paper = "Doebler et al., Robust mean teacher for continual and gradual TTA, CVPR 2023"
    outputs = "logit_sum"
    state = ("student_parameters", "teacher_parameters", "optimizer", "source_batches")
    prepared = ("prototypes",)

    @dataclass(frozen=True)
    class Params(OptimizerParams):
        """Hyper-parameters; the defaults are the paper's for CIFAR."""

        lambda_target: float = param(1.0, "weight of the self-training loss", minimum=0.0)
        lambda_contrastive: float = param(1.0, "weight of the contrastive loss", minimum=0.0)
        lambda_source: float = param(1.0, "weight of the source cross-entropy", minimum=0.0)
        temperature: float = param(0.1, "temperature of the contrastive loss", minimum=1e-6)
        teacher_decay: float = param(0.999, "EMA decay per step", minimum=0.0, maximum=1.0)
        projection_dim: int = param(
            128, "width of the projector; 0 for none", unit="features", minimum=0, maximum=65_536
        )
        warm_up_samples: int = param(
            50_000, "source images seen before the stream", unit="images", minimum=0
        )
        trained: str = trained_param()

    @classmethod
    def needs(cls, params: Any) -> frozenset[Need]:
        needs: set[Need] = set()
        if params.lambda_contrastive or params.warm_up_samples:
            needs.add(Need.SOURCE_AT_PREPARE)
        if params.lambda_contrastive or params.lambda_source:
            needs.add(Need.SOURCE_LABELS)
        return frozenset(needs | ({Need.SOURCE_AT_STEP} if params.lambda_source else set()))

    def configure(self) -> None:
        if self.backbone.dense and self.params.lambda_contrastive:
            raise UserError(
                "rmt.lambda_contrastive draws the features of images to prototypes of classes, and "
                "pixels have classes here: set it to 0"
            )
        replace_batch_norm(self.backbone)
        self.teacher = self.backbone.clone()
        self.projector = make_projector(
            self.backbone.feature_dim, self.params.projection_dim, self.generator.initial_seed()
        ).to(next(self.backbone.parameters()).device)
        trained = self.params.trained
        self.averaged_parameters = trained_parameters(self.backbone, trained)
        self.student_parameters = trainable(
            [*self.averaged_parameters, *self.projector.parameters()]
        )
        self.teacher_parameters = trained_parameters(self.teacher, trained)
        self.optimizer = make_optimizer(self.student_parameters, self.params)
        self.augment = PHOTOMETRIC if self.backbone.dense else CottaAugment()

    def attach_source(self, source: SourceData | None) -> None:
        self.source_batches = None if source is None else SourceBatches(source, first_epoch=1)

    def prepare(self, source: SourceData | None) -> None:
        self.prototypes = self.averaged_parameters[0].new_zeros(0)
        if self.params.lambda_contrastive:
            self.prototypes = source_prototypes(self.backbone, source)
        if self.params.warm_up_samples:
            self._warm_up(self.params.warm_up_samples // source.batch_size)

    def _warm_up(self, steps: int) -> None:
        """Accustom student and teacher to each other on source images, without labels."""
        for step in range(steps):
            for group in self.optimizer.param_groups:
                group["lr"] = self.params.lr * (step + 1) / steps
            images, _ = next(self.source_batches)
            loss = symmetric_cross_entropy(self.backbone(images), self._teach(images)).mean()
            descend(self.optimizer, loss)
            ema_update(self.teacher_parameters, self.averaged_parameters, self.params.teacher_decay)

    @torch.no_grad()
    def _teach(self, images: Tensor) -> Tensor:
        return self.teacher(images)

    def step(self, images: Tensor) -> Tensor:
        features = self.backbone.features(images)
        logits = self.backbone.logits(features, images)
        teacher_logits = self._teach(images)
        view = self.backbone.features(self.augment(images, self.generator))
        augmented = self.backbone.logits(view, images)
        loss = self.params.lambda_target * self._self_training(logits, augmented, teacher_logits)
        if self.params.lambda_contrastive:
            loss = loss + self.params.lambda_contrastive * self._contrastive(features, view)
        self.optimizer.zero_grad(set_to_none=True)
        backward(self.optimizer, loss)
        if self.params.lambda_source:
            self._replay_source()  # its graph is freed on its own: half the peak memory
        update(self.optimizer)
        ema_update(self.teacher_parameters, self.averaged_parameters, self.params.teacher_decay)
        return logits.detach() + teacher_logits

    def _self_training(self, logits: Tensor, view_logits: Tensor, teacher: Tensor) -> Tensor:
        plain = symmetric_cross_entropy(logits, teacher)
        augmented = symmetric_cross_entropy(view_logits, teacher)
        return (0.5 * plain + 0.5 * augmented).mean()

    def _contrastive(self, features: Tensor, view: Tensor) -> Tensor:
        return contrast_with_prototypes(
            features, view, self.prototypes, self.projector, self.params.temperature
        )

    def _replay_source(self) -> None:
        images, labels = next(self.source_batches)
        loss = self._supervised(self.backbone(images), labels)
        backward(self.optimizer, self.params.lambda_source * loss)

    def _supervised(self, logits: Tensor, labels: Tensor) -> Tensor:
        if not self.backbone.dense:
            return F.cross_entropy(logits, labels)
        ignore = self.source_batches.source.dataset.ignore_label
        return pixel_cross_entropy(logits, labels, ignore, self.backbone.align_corners)

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        return self.backbone(images) + self.teacher(images)
