"""GTTA: self-training over intermediate domains, here by mixup (GTTA-MIX)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tta.methods.base import Method, Need, descend, make_optimizer, trainable
from tta.methods.params import OptimizerParams, param, trained_param
from tta.methods.trained import trained_parameters
from tta.ops.ema import ema_update
from tta.ops.norm.batch_norm import replace_batch_norm
from tta.ops.selection import selected_mean
from tta.source.source_data import SourceBatches, SourceData


class GradualTestTimeAdaptation(Method):
    """Trains on source images mixed with test images, then on confident pseudo-labels.

    Two steps a batch, over all parameters and with batch statistics:

    1. Every image x_s of a source batch is mixed with the test image x_t whose prediction is
       most similar, ``mix x_t + (1 - mix) x_s``, and the model learns the source label.
    2. The model predicts the test batch anew, and learns the pseudo-labels whose confidence,
       before the first step, reached the square root of its running mean.

    Outputs are those of the second forward pass, so after the first step and before the second
    (Marsden et al., 2022). This is GTTA-MIX. The paper's other variant puts style transfer in
    the place of mixup; it takes a pretrained encoder and a decoder trained per data set.

    A batch without a confident prediction takes the first step alone.
    """

    name = "gtta"
    title = "gtta-mix"
    paper = "Marsden et al., Gradual test-time adaptation by self-training and style transfer, 2022"
    predicts = "after"
    state = ("parameters", "optimizer", "source_batches", "mean_confidence")

    @dataclass(frozen=True)
    class Params(OptimizerParams):
        """Hyper-parameters."""

        lr: float = param(1e-5, "learning rate", minimum=0.0)
        mix: float = param(1 / 3, "share of the test image", minimum=0.0, maximum=1.0)
        initial_confidence: float = param(
            0.9, "mean confidence before the first batch", minimum=0.0, maximum=1.0
        )
        confidence_decay: float = param(
            0.9, "EMA decay of the mean confidence", minimum=0.0, maximum=1.0
        )
        trained: str = trained_param()

    @classmethod
    def needs(cls, params: Any) -> frozenset[Need]:
        return frozenset({Need.SOURCE_AT_STEP, Need.SOURCE_LABELS})

    def configure(self) -> None:
        replace_batch_norm(self.backbone)
        self.parameters = trainable(trained_parameters(self.backbone, self.params.trained))
        self.optimizer = make_optimizer(self.parameters, self.params)
        self.mean_confidence = self.parameters[0].new_full((), self.params.initial_confidence)

    def attach_source(self, source: SourceData) -> None:
        self.source_batches = SourceBatches(source)

    def step(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            probabilities = self.backbone(images).softmax(1)
        labels, confident = self._pseudo_labels(probabilities)
        source_images, source_labels = self._source(len(images))
        mixed = self._mix(source_images, images, probabilities)
        descend(self.optimizer, F.cross_entropy(self.backbone(mixed), source_labels))
        logits = self.backbone(images)
        # The one wait for the device: with nothing selected, momentum alone would move the model.
        if confident.any():
            losses = F.cross_entropy(logits, labels, reduction="none")
            descend(self.optimizer, selected_mean(losses, confident))
        return logits.detach()

    def _pseudo_labels(self, probabilities: Tensor) -> tuple[Tensor, Tensor]:
        """Return labels and which of them are confident, after moving the mean confidence."""
        confidence, labels = probabilities.max(1)
        ema_update([self.mean_confidence], [confidence.mean()], self.params.confidence_decay)
        return labels, confidence >= self.mean_confidence.sqrt()

    def _source(self, count: int) -> tuple[Tensor, Tensor]:
        images, labels = next(self.source_batches)
        return images[:count], labels[:count]  # no more than the test batch, for a short one

    @torch.no_grad()
    def _mix(self, source_images: Tensor, images: Tensor, probabilities: Tensor) -> Tensor:
        similarity = self.backbone(source_images).softmax(1) @ probabilities.T
        return torch.lerp(source_images, images[similarity.argmax(1)], self.params.mix)
