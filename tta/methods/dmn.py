"""DMN: a dynamic memory of features per class, read out by attention."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tta.methods.params import param
from tta.methods.viewed import ViewedMethod, ViewParams
from tta.ops.class_cache import ClassCache
from tta.ops.losses import mean_log_probabilities
from tta.ops.selection import most_certain


class Dmn(ViewedMethod):
    """Adds the probabilities of class prototypes that an image reads out of a memory.

    Of each class the memory keeps the 50 features of least entropy, under the class and by the
    entropy of the mean probability over the most certain views. An image, once stored, weighs the
    features of each class and the class's text embedding by exp(-b (1 - f k)), and is classified
    by their unit sums too (Zhang et al., CVPR 2024: DMN-ZS). Outputs are

        (p + a softmax(s f v)) / (1 + a).

    In the released code a is chosen among 13 values on the test labels, as in the published
    figures; here it is 1. Images count one by one, whatever the batch.
    """

    name = "dmn"
    paper = "Zhang et al., Dual memory networks, CVPR 2024"
    predicts = "after"
    outputs = "probabilities"
    state = ("views", "memory")

    @dataclass(frozen=True)
    class Params(ViewParams):
        """Hyper-parameters; the defaults are the authors', but for the weight."""

        views: int = param(
            32, "views of each image, itself among them", unit="views", minimum=1, maximum=4096
        )
        share: float = param(0.1, "share of the views that count", minimum=0.0, maximum=1.0)
        slots: int = param(50, "L: features per class", unit="features", minimum=1)
        sharpness: float = param(5.5, "b: of the attention", minimum=0.0)
        weight: float = param(1.0, "a: of the memory's probabilities", minimum=0.0)

    def configure(self) -> None:
        super().configure()
        self.text = F.normalize(self.backbone.class_rows, dim=1)
        self.memory = ClassCache(self.backbone.num_classes, self.params.slots, self.text)

    @torch.no_grad()
    def episode(self, features: Tensor) -> Tensor:
        logits = self.backbone.head(features)
        mean = mean_log_probabilities(logits[most_certain(logits, self.params.share)])
        entropy = -(mean.exp() * mean).sum()
        self.memory.insert(features[0], entropy, mean.argmax())
        return self._read(features[0], logits[0])

    def _read(self, feature: Tensor, logits: Tensor) -> Tensor:
        """Return outputs ``[C]`` of a feature ``[D]``, with the memory as it is."""
        weights = self.memory.affinities(feature, self.params.sharpness)
        own = (self.params.sharpness * (self.text @ feature - 1)).exp()
        sums = torch.einsum("ck,ckd->cd", weights, self.memory.keys) + own[:, None] * self.text
        read = self.backbone.text.logits(feature[None], F.normalize(sums, dim=1))[0]
        weight = self.params.weight
        return (logits.softmax(0) + weight * read.softmax(0)) / (1 + weight)

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        """Return outputs of the images themselves, with the memory as it is."""
        features = self.backbone.features(images)
        pairs = zip(features, self.backbone.head(features), strict=True)
        return torch.stack([self._read(*pair) for pair in pairs])
