"""T3A: test-time template adjustment of the classifier, without backpropagation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tta.methods.base import Method
from tta.methods.params import param
from tta.ops.losses import entropy
from tta.ops.support import least_per_class


class T3a(Method):
    """Replaces the classifier by class prototypes of confident test features.

    The support set of a class starts with the classifier's rows that the classifier itself gives
    to the class. Every test feature z joins the support of its predicted class; of each class the
    ``support_size`` members of least predictive entropy stay. A prototype is the normalised sum
    of the class's L2-normalised supports, and logits are z · prototype, for a batch that has
    joined already. The model is not touched: evaluation mode, source statistics (Iwasawa and
    Matsuo, NeurIPS 2021).

    Unit features, those of image-text models, give cosines, which are scaled as the logits are.
    A class without supports has logit 0, as in the released code. There, asking for all supports
    (-1) drops the least certain of every class at each batch; here all are kept, as their sum.
    """

    name = "t3a"
    paper = "Iwasawa and Matsuo, Test-time classifier adjustment module, NeurIPS 2021"
    predicts = "after"
    state = ("supports", "entropies", "prototypes")

    @dataclass(frozen=True)
    class Params:
        """Hyper-parameters; the default was tuned for CIFAR-10-C."""

        support_size: int | None = param(
            100, "M: supports that a class keeps; null for all", unit="features", minimum=1
        )

    @classmethod
    def keeps_network(cls, params: Any) -> bool:
        return True

    @torch.no_grad()
    def configure(self) -> None:
        rows = self.backbone.class_rows
        classes, dim = self.backbone.num_classes, self.backbone.feature_dim
        slots = self.params.support_size or 1
        self.supports = rows.new_zeros(classes, slots, dim)
        self.entropies = rows.new_full((classes, slots), torch.inf)
        self.prototypes = rows.new_zeros(classes, dim)
        self._join(rows, self.backbone.head(rows))

    def _join(self, features: Tensor, logits: Tensor) -> None:
        """Add features ``[B, D]`` to the supports of the classes that ``logits`` predict."""
        labels, unit = logits.argmax(1), F.normalize(features, dim=1)
        # No more classes change than features join; a class named twice is written twice.
        changed = labels if len(labels) < len(self.supports) else slice(None)
        if self.params.support_size is None:
            self.supports[:, 0].index_add_(0, labels, unit.nan_to_num(0.0))
        else:
            self._keep_surest(unit, entropy(logits), labels, changed)
        self.prototypes[changed] = F.normalize(self.supports[changed].sum(1), dim=1)

    def _keep_surest(
        self, unit: Tensor, entropies: Tensor, labels: Tensor, changed: Tensor | slice
    ) -> None:
        """Let unit features ``[B, D]`` take the places of less certain ones in their classes."""
        held = self.entropies.numel()
        kept = least_per_class(self.entropies, entropies, labels)
        self.entropies = torch.cat([self.entropies.flatten(), entropies])[kept]
        kept = kept[changed]
        old = self.supports.flatten(0, 1)[kept.clamp_max(held - 1)]
        new = unit[(kept - held).clamp_min(0)]
        self.supports[changed] = torch.where((kept < held)[..., None], old, new)

    @torch.no_grad()
    def step(self, images: Tensor) -> Tensor:
        features = self.backbone.features(images)
        self._join(features, self.backbone.head(features))
        return self._classify(features)

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        return self._classify(self.backbone.features(images))

    def _classify(self, features: Tensor) -> Tensor:
        logits, text = features @ self.prototypes.T, self.backbone.text
        return logits if text is None else text.scale * logits
