"""DPE: prototypes of text and of images, which evolve together along a stream."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tta.methods.base import descend
from tta.methods.params import param
from tta.methods.tda import Seen, summed_up
from tta.methods.viewed import ViewedMethod, ViewParams
from tta.ops.class_cache import ClassCache
from tta.ops.losses import entropy

_COSINE_TEMPERATURE = 0.01


class Dpe(ViewedMethod):
    """Shifts two sets of class prototypes for each image, and keeps those of the text if certain.

    Text prototypes G begin as the text embeddings; those of images are the means of TDA's positive
    cache, in which the mean of the image's most certain views is stored first. From no shift anew
    for every image: one step of AdamW on a shift of both, down the entropy of that mean's logits

        s f G' + a exp(-b (1 - f K'))

    plus ``align_weight`` times the contrast of K' with G'. The image is classified by the shifted
    prototypes, and where it is certain, G becomes the mean of all such G' (Zhang et al., NeurIPS
    2024), which is no unit vector: it is made one where it is used.

    Constants are those for ImageNet; the authors tuned them per test set on its labels, see the
    presets. The gate is in nats over log2 C, as in their code. In a port the entropy does not
    reach the text, by a slip; here it does, as in the authors' code.
    """

    name = "dpe"
    paper = "Zhang et al., Dual prototype evolving for test-time generalization, NeurIPS 2024"
    predicts = "after"
    state = ("views", "text", "kept", "cache")

    @dataclass(frozen=True)
    class Params(ViewParams):
        """Hyper-parameters; the defaults are those for ImageNet."""

        share: float = param(0.1, "share of the views that count", minimum=0.0, maximum=1.0)
        slots: int = param(3, "features per class", unit="features", minimum=1)
        weight: float = param(6.0, "a: of the images' prototypes", minimum=0.0)
        sharpness: float = param(5.0, "b", minimum=0.0)
        lr: float = param(6e-4, "learning rate of AdamW", minimum=0.0)
        weight_decay: float = param(0.1, "weight decay of AdamW", minimum=0.0)
        align_weight: float = param(0.5, "of the contrast of both prototypes", minimum=0.0)
        certain: float = param(
            0.1, "entropy over log2 C below which text prototypes are kept", minimum=0.0
        )
        image: str = param(
            "itself",
            "what is classified: it, or the mean of its views, as published for ImageNet-A",
            choices=("itself", "views"),
        )

    def configure(self) -> None:
        super().configure()
        self.text = F.normalize(self.backbone.class_rows, dim=1)
        self.kept = torch.zeros_like(self.text[0, 0])
        self.cache = ClassCache(len(self.text), self.params.slots, self.text)
        self.greatest = math.log2(len(self.text)) if len(self.text) > 1 else 1.0

    def episode(self, features: Tensor) -> Tensor:
        with torch.no_grad():
            seen = self._summed_up(features, F.normalize(self.text, dim=1))
            self.cache.insert(seen.feature, seen.entropy, seen.label)
            keys, filled = self._prototypes()
        shifts = torch.zeros_like(self.text), torch.zeros_like(keys)
        text, keys = self._descended(seen.feature, keys, filled, *shifts)
        with torch.no_grad():
            views = self.params.image == "views"
            feature = self._summed_up(features, text).feature if views else features[0]
            outputs = self._logits(feature, text, keys, filled)
            self._keep(text, outputs)
        return outputs

    def _summed_up(self, features: Tensor, text: Tensor) -> Seen:
        return summed_up(features, self.backbone.text.logits(features, text), self.params.share)

    def _prototypes(self) -> tuple[Tensor, Tensor]:
        """Return mean features ``[C, D]`` of the cache, and which classes have any ``[C]``.

        Those of the others are their text prototypes, and count for nothing.
        """
        there = self.cache.entropies.isfinite()
        sums = (self.cache.keys * there[..., None]).sum(1)
        means = sums / there.sum(1).clamp_min(1)[:, None]
        return torch.where(there[:, :1], means, self.text), there[:, 0]

    def _descended(
        self, feature: Tensor, keys: Tensor, filled: Tensor, *shifts: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return unit prototypes of text and images ``[C, D]`` after a step on their shifts."""
        params = self.params
        for shift in shifts:
            shift.requires_grad_()
        optimizer = torch.optim.AdamW(shifts, params.lr, eps=1e-3, weight_decay=params.weight_decay)
        text, moved = self._shifted(keys, *shifts)
        loss = entropy(self._logits(feature, text, moved, filled)[None])[0]
        descend(optimizer, loss + params.align_weight * contrast(moved, text, filled))
        with torch.no_grad():
            return self._shifted(keys, *shifts)

    def _shifted(self, keys: Tensor, *shifts: Tensor) -> tuple[Tensor, Tensor]:
        return F.normalize(self.text + shifts[0], dim=1), F.normalize(keys + shifts[1], dim=1)

    def _logits(self, feature: Tensor, text: Tensor, keys: Tensor, filled: Tensor) -> Tensor:
        """Return logits ``[C]`` of a feature ``[D]`` under prototypes ``[C, D]``."""
        near = (self.params.sharpness * (keys @ feature - 1)).exp()
        logits = self.backbone.text.logits(feature[None], text)[0]
        return logits + self.params.weight * torch.where(filled, near, 0)

    def _keep(self, text: Tensor, outputs: Tensor) -> None:
        certain = entropy(outputs[None])[0] / self.greatest < self.params.certain
        kept = self.kept + certain
        mean = (kept * self.text + text) / (kept + 1)
        self.kept, self.text = kept, torch.where(certain, mean, self.text)

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        """Return outputs of the images themselves, with the prototypes as they are, unshifted."""
        keys, filled = self._prototypes()
        text, keys = F.normalize(self.text, dim=1), F.normalize(keys, dim=1)
        features = self.backbone.features(images)
        return torch.stack([self._logits(feature, text, keys, filled) for feature in features])


def contrast(keys: Tensor, text: Tensor, filled: Tensor) -> Tensor:
    """Return how little each image prototype is told from the texts of other classes, a scalar.

    InfoNCE at a temperature of 0.01, from images to texts alone.

    Args:
        keys: unit ``[C, D]``.
        text: unit ``[C, D]``.
        filled: the classes that count ``[C]``.
    """
    logits = (keys @ text.T / _COSINE_TEMPERATURE).masked_fill(~filled, -torch.inf)
    losses = -logits.log_softmax(1).diagonal()
    return torch.where(filled, losses, 0).sum() / filled.sum().clamp_min(1)
