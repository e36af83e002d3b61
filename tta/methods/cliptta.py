"""CLIPTTA: adaptation by the loss of CLIP's own training, with predicted captions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tta.methods.base import Method, Need, descend, make_optimizer, trainable
from tta.methods.cliptta_memory import ConfidentMemory
from tta.methods.params import OptimizerParams, param
from tta.ops.losses import damped_entropy, entropy
from tta.ops.norm.batch_norm import replace_batch_norm
from tta.ops.parameters import norm_affine_parameters

EPSILON = 1e-6
"""Of Adam, and in the logarithm of mean probabilities."""


def caption_entropy(
    features: Tensor, text: Tensor, logits: Tensor, scale: float, symmetric: bool = False
) -> Tensor:
    """Return the mean entropy of which predicted caption of the batch an image has, a scalar.

    Args:
        features: unit vectors ``[B, D]``.
        text: unit vectors of the classes ``[C, D]``.
        logits: of these images ``[B, C]``, whose greatest is the caption.
        scale: of cosines.
        symmetric: average it with that of which image a caption has.
    """
    pairs = scale * features @ text[logits.argmax(1)].T
    rows = entropy(pairs).mean()
    return (rows + entropy(pairs.T).mean()) / 2 if symmetric else rows


class ClipTta(Method):
    """Trains norm layers of the image tower to tell the predicted captions of a batch apart.

    Ten steps on each batch, and on confident images of earlier ones, down the entropy of images
    over the captions "a photo of a (predicted class)" of their batch, less the entropy of the mean
    prediction; the batch is classified afterwards (Lafon et al., NeurIPS 2025). The memory takes
    in a batch at its first step.

    The loss averages entropies of images over captions and of captions over images; the released
    code, where texts are frozen, has the former alone: ``contrast``. In its scripts for ImageNet
    the memory alone is adapted to: ``adapt_to``. Its term against unknown images is not here.
    """

    name = "cliptta"
    paper = "Lafon et al., CLIPTTA: robust contrastive vision-language TTA, NeurIPS 2025"
    predicts = "after"
    state = ("parameters", "optimizer", "memory")

    @dataclass(frozen=True)
    class Params(OptimizerParams):
        """Hyper-parameters; the defaults are those for CIFAR."""

        lr: float = param(1e-4, "learning rate", minimum=0.0)
        steps: int = param(10, "steps on each batch", unit="steps", minimum=1, maximum=1000)
        contrast: str = param(
            "released",
            "entropy over captions, or its mean with that over images",
            choices=("released", "symmetric"),
        )
        diversity_weight: float = param(1.0, "of the mean prediction's entropy", minimum=0.0)
        memory_slots: int = param(4, "confident images per class", unit="images", minimum=1)
        memory_sample: int = param(
            40, "of these in each step, one per class at least", unit="images", minimum=1
        )
        adapt_to: str = param(
            "batch_and_memory", "what steps are taken on", choices=("batch_and_memory", "memory")
        )

    @classmethod
    def needs(cls, params: Any) -> frozenset[Need]:
        return frozenset({Need.IMAGE_TEXT, Need.NORM_AFFINE})

    def configure(self) -> None:
        self.layers = replace_batch_norm(self.backbone)
        self.parameters = trainable(norm_affine_parameters(self.backbone))
        self.optimizer = make_optimizer(self.parameters, self.params, EPSILON)
        self.text = self.backbone.class_rows / self.backbone.text.scale
        slots, classes = self.params.memory_slots, self.backbone.num_classes
        self.memory = ConfidentMemory(slots, classes, self.text)

    def step(self, images: Tensor) -> Tensor:
        alone = self.params.adapt_to == "memory"
        if alone:
            with torch.no_grad():
                self._remember(images, self.backbone.features(images))
        for number in range(self.params.steps):
            losses = []
            if not alone:
                features = self.backbone.features(images)
                losses.append(self.loss(features))
                if number == 0:
                    self._remember(images, features.detach())
            remembered = self.memory.sample(self.params.memory_sample, self.generator)
            if len(remembered):
                losses.append(self.loss(self.backbone.features(remembered)))
            if losses:
                descend(self.optimizer, sum(losses))
        return self.predict(images)

    def loss(self, features: Tensor) -> Tensor:
        """Return what a step goes down, of the features ``[B, D]`` of some images; a scalar."""
        scale, symmetric = self.backbone.text.scale, self.params.contrast == "symmetric"
        logits = self.backbone.head(features)
        apart = caption_entropy(features, self.text, logits, scale, symmetric)
        mean = logits.softmax(1).mean(0, keepdim=True)
        return apart - self.params.diversity_weight * damped_entropy(mean, EPSILON)[0]

    def _remember(self, images: Tensor, features: Tensor) -> None:
        """Offer images to the memory, by the probabilities of their cosines, unscaled."""
        confidences, labels = (features @ self.text.T).softmax(1).max(1)
        self.memory.insert(images, labels, confidences)
