"""TDA: a cache of confident features per class beside the zero-shot classifier, and one against."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from tta.foundation.errors import UserError
from tta.methods.params import param
from tta.methods.viewed import ViewedMethod, ViewParams
from tta.ops.class_cache import ClassCache
from tta.ops.losses import mean_log_probabilities
from tta.ops.selection import most_certain


class Seen(NamedTuple):
    """An image: its feature ``[D]``, logits and log-probabilities ``[C]``, entropy, class."""

    feature: Tensor
    logits: Tensor
    log_probabilities: Tensor
    entropy: Tensor
    label: Tensor


def summed_up(features: Tensor, logits: Tensor, share: float) -> Seen:
    """Return the means over the most certain views of an image; a single view is itself.

    Features are averaged as they are, the mean is no unit vector; the entropy is that of the mean
    probabilities, the class that of the mean logits.

    Args:
        features: ``[N, D]``.
        logits: ``[N, C]``.
        share: of the views, see :func:`tta.ops.selection.most_certain`.
    """
    kept = most_certain(logits, share)
    logits = logits[kept]
    mean, log_mean = logits.mean(0), mean_log_probabilities(logits)
    entropy = -(log_mean.exp() * log_mean).sum()
    return Seen(features[kept].mean(0), mean, log_mean, entropy, mean.argmax())


def _check_pair(name: str, bounds: tuple[float, ...]) -> None:
    if len(bounds) != 2 or bounds[0] > bounds[1]:
        raise UserError(f"{name} takes two numbers, the lower first, but got {list(bounds)}")


class Tda(ViewedMethod):
    """Adds what similar confident images were, and takes off what uncertain ones were not.

    A positive cache keeps the three most certain features of each predicted class, a negative one
    two of middling certainty with the classes that they are hardly; logits are

        z + a+ sum_c exp(-b+ (1 - f k)) e_c - a- sum exp(-b- (1 - f k)) 1[.03 < p_k < 1]

    over the cached k (Karmanov et al., CVPR 2024). The image at hand is stored first, so that it
    retrieves itself. Images count one by one, whatever the batch.

    a+ and b+ are those for ImageNet; the authors tuned them per test set on its labels, see the
    presets. In their code the entropy of the gate is in nats over log2 C, so that its bounds are
    .29 and .72 of the greatest entropy; ``entropy_gate: normalised`` divides by ln C instead.
    """

    name = "tda"
    paper = "Karmanov et al., Efficient test-time adaptation of vision-language models, CVPR 2024"
    predicts = "after"
    state = ("views", "positive", "negative")

    @dataclass(frozen=True)
    class Params(ViewParams):
        """Hyper-parameters; the defaults are those for ImageNet."""

        views: int = param(
            1, "views of each image; 64 in the authors' runs on ImageNet-A, V2, R and Sketch",
            unit="views", minimum=1, maximum=4096,
        )  # fmt: skip
        share: float = param(0.1, "share of the views that count", minimum=0.0, maximum=1.0)
        positive_slots: int = param(3, "features per class", unit="features", minimum=1)
        positive_weight: float = param(2.0, "a+", minimum=0.0)
        positive_sharpness: float = param(5.0, "b+", minimum=0.0)
        negative_slots: int = param(2, "uncertain features per class", unit="features", minimum=1)
        negative_weight: float = param(0.117, "a-", minimum=0.0)
        negative_sharpness: float = param(1.0, "b-", minimum=0.0)
        gate: tuple[float, ...] = param(
            (0.2, 0.5), "entropies between which an image is an uncertain one", minimum=0.0
        )
        entropy_gate: str = param(
            "released",
            "what they are shares of: log2 C or ln C",
            choices=("released", "normalised"),
        )
        negative_bounds: tuple[float, ...] = param(
            (0.03, 1.0), "probabilities between which a class is taken off", minimum=0.0
        )

    def configure(self) -> None:
        super().configure()
        params, classes = self.params, self.backbone.num_classes
        _check_pair(f"{self.name}.gate", params.gate)
        _check_pair(f"{self.name}.negative_bounds", params.negative_bounds)
        like = self.backbone.classifier.weight.detach()
        self.positive = ClassCache(classes, params.positive_slots, like)
        self.negative = ClassCache(classes, params.negative_slots, like, width=classes)
        base = math.log2 if params.entropy_gate == "released" else math.log
        self.greatest = base(classes) if classes > 1 else 1.0

    @torch.no_grad()
    def episode(self, features: Tensor) -> Tensor:
        seen = summed_up(features, self.backbone.head(features), self.params.share)
        self._store(seen)
        return self._adjusted(seen, self._near(seen))

    def _store(self, seen: Seen) -> None:
        self.positive.insert(seen.feature, seen.entropy, seen.label)
        low, high = self.params.gate
        level = seen.entropy / self.greatest
        least, most = self.params.negative_bounds
        p = seen.log_probabilities.exp()
        uncertain = ((p > least) & (p < most)).to(p.dtype)
        middling = (level > low) & (level < high)
        self.negative.insert(seen.feature, self._rank(seen), seen.label, uncertain, middling)

    def _rank(self, seen: Seen) -> Tensor:
        """Return by what the negative cache ranks, the least first."""
        return seen.entropy

    def _near(self, seen: Seen) -> Tensor:
        return self.positive.affinities(seen.feature, self.params.positive_sharpness).sum(1)

    def _adjusted(self, seen: Seen, near: Tensor) -> Tensor:
        """Return logits ``[C]``, with summed affinities ``[C]`` to what is cached for classes."""
        params = self.params
        weights = self.negative.affinities(seen.feature, params.negative_sharpness)
        against = (weights[..., None] * self.negative.values).sum((0, 1))
        return seen.logits + params.positive_weight * near - params.negative_weight * against

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        """Return outputs of the images themselves, with the caches as they are."""
        parts = self.backbone.features(images).split(1)
        seen = [summed_up(part, self.backbone.head(part), 1.0) for part in parts]
        return torch.stack([self._adjusted(one, self._near(one)) for one in seen])
