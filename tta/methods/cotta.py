"""CoTTA: continual test-time adaptation with an augmentation-averaged teacher."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from tta.foundation.errors import UserError
from tta.methods.base import Method, Need, descend, forget_steps, make_optimizer, trainable
from tta.methods.cotta_dense import SCALES, doubtful_pixels, imitation, teach
from tta.methods.cotta_restore import stochastic_restore
from tta.methods.params import OptimizerParams, param, trained_param
from tta.methods.trained import trained_parameters
from tta.ops.ema import ema_update
from tta.ops.losses import soft_cross_entropy, symmetric_cross_entropy
from tta.ops.norm.batch_norm import replace_batch_norm
from tta.ops.views.augment import CottaAugment
from tta.source.source_data import SourceData

QUANTILE, SLACK = 0.05, 0.05
"""The threshold is this quantile of the source model's confidence on source images, less this."""
SOURCE_LIMIT = 100_000
"""Source images after which that quantile is known well enough."""


class Cotta(Method):
    """Trains a student on its mean teacher's logits, averaged over augmentations where needed.

    Where the source model is not confident in a batch (mean largest probability), the target is
    the mean of the teacher's logits over augmented views, else its logits of the images
    themselves. After each step a few weights, drawn at random, return to the source. All
    parameters are trained; outputs are the targets (Wang et al., CVPR 2022).

    The threshold of confidence belongs to a source model and its data. As in the paper's
    supplement, ``confidence_threshold=null`` takes the 5 % quantile of the source model's
    confidence on source images, less 0.05; the constants in the presets are the authors'.

    Of segmentation the choice is made for every pixel, after descendants of the authors' code,
    which is lost: views are the image in several sizes, plain and mirrored; their probabilities are
    averaged where the source's largest one is not above the threshold; the class of the largest
    is the label of the step and the prediction. Batch norm keeps the source's statistics. That
    code makes its optimiser anew for every domain, which are of 400 images in ACDC: so does
    ``restart_interval``, without a word of domains.
    """

    name = "cotta"
    dense = {
        "lr": 7.5e-6,
        "confidence_threshold": 0.69,
        "batch_statistics": False,
        "trained": "weights_and_biases",
    }
    paper = "Wang et al., Continual test-time domain adaptation, CVPR 2022"
    state = ("parameters", "teacher_parameters", "optimizer", "since_restart")
    prepared = ("threshold",)

    @dataclass(frozen=True)
    class Params(OptimizerParams):
        """Hyper-parameters; the defaults are the authors' for CIFAR-10."""

        teacher_decay: float = param(0.999, "EMA decay per step", minimum=0.0, maximum=1.0)
        restore_rate: float = param(
            0.01, "probability that a weight returns to the source", minimum=0.0, maximum=1.0
        )
        confidence_threshold: float | None = param(
            0.92,
            "p_th: source confidence below which views are averaged; null: from source images",
            minimum=0.0,
            maximum=1.0,
        )
        views: int = param(32, "augmented views that are averaged", minimum=1, maximum=4096)
        symmetric: bool = param(
            False, "symmetric cross-entropy, as published for ImageNet, not the teacher's alone"
        )
        trained: str = trained_param()
        batch_statistics: bool = param(
            True, "batch norm by the statistics of the test batch, not the source's"
        )
        scales: tuple[float, ...] = param(
            SCALES, "segmentation: sizes of the views, in that of the image", minimum=0.01
        )
        labels: str = param(
            "hard",
            "segmentation: what is learnt, the teacher's classes or its probabilities",
            choices=("hard", "soft"),
        )
        restart_interval: int | None = param(
            None,
            "images after which the optimiser forgets its earlier steps; weights stay",
            unit="images",
            minimum=1,
        )

    @classmethod
    def needs(cls, params: Any) -> frozenset[Need]:
        derived = params.confidence_threshold is None
        return frozenset({Need.SOURCE_AT_PREPARE} if derived else set())

    def configure(self) -> None:
        if self.params.batch_statistics:
            replace_batch_norm(self.backbone)
        if self.backbone.dense:
            self._segment()
        self.teacher, self.anchor = self.backbone.clone(), self.backbone.clone()
        trained = self.params.trained
        self.parameters = trainable(trained_parameters(self.backbone, trained))
        self.teacher_parameters = trained_parameters(self.teacher, trained)
        self.source_parameters = trained_parameters(self.anchor, trained)
        self.optimizer = make_optimizer(self.parameters, self.params)
        self.since_restart = 0
        self.loss = symmetric_cross_entropy if self.params.symmetric else soft_cross_entropy
        self.augment = CottaAugment()

    def _segment(self) -> None:
        """Return probabilities of pixels."""
        self.outputs = "probabilities"
        if self.params.confidence_threshold is None:
            raise UserError(
                "cotta.confidence_threshold=null is told by images of one class each; to segment, "
                "give a number, such as 0.69"
            )
        if not self.params.scales:
            raise UserError("cotta.scales names no size of a view; give one, such as [1.0]")

    @torch.no_grad()
    def prepare(self, source: SourceData | None) -> None:
        threshold = self.params.confidence_threshold
        if threshold is not None:
            self.threshold = self.parameters[0].new_full((), threshold)
            return
        batches = islice(source.one_pass(), math.ceil(SOURCE_LIMIT / source.batch_size))
        confidences = torch.cat([self._confidence(images) for images, _ in batches])
        self.threshold = confidences.quantile(QUANTILE) - SLACK

    def _confidence(self, images: Tensor) -> Tensor:
        return self.anchor(images).softmax(1).amax(1)

    def step(self, images: Tensor) -> Tensor:
        if self.params.restart_interval is not None:
            self._restart(len(images), self.params.restart_interval)
        targets = self._teach(images) if self.backbone.dense else self._targets(images)
        descend(self.optimizer, self._loss(self.backbone(images), targets))
        ema_update(self.teacher_parameters, self.parameters, self.params.teacher_decay)
        stochastic_restore(
            self.parameters, self.source_parameters, self.params.restore_rate, self.generator
        )
        return targets

    def _restart(self, count: int, interval: int) -> None:
        """Forget the optimiser's steps where an interval is over, before ``count`` more images."""
        if self.since_restart >= interval:
            self.since_restart = 0
            forget_steps(self.optimizer)
        self.since_restart += count

    def _loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        if not self.backbone.dense:
            return self.loss(logits, targets).mean()
        hard = self.params.labels == "hard"
        return imitation(logits, targets, self.backbone.align_corners, hard)

    def _teach(self, images: Tensor) -> Tensor:
        aligned = self.backbone.align_corners
        doubtful = doubtful_pixels(self.anchor, images, self.threshold, aligned)
        return teach(self.teacher, images, doubtful, self.params.scales, aligned)

    @torch.no_grad()
    def _targets(self, images: Tensor) -> Tensor:
        # Waits for the device: the views cost many times what the rest of the step does.
        if self._confidence(images).mean() >= self.threshold:
            return self.teacher(images)
        total = self.teacher(self.augment(images, self.generator))
        for _ in range(self.params.views - 1):
            total += self.teacher(self.augment(images, self.generator))
        return total / self.params.views

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        return self._teach(images) if self.backbone.dense else self.teacher(images)
