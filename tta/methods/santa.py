"""SANTA: source anchoring network and target alignment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tta.methods.base import Method, Need, descend, make_optimizer, trainable
from tta.methods.params import OptimizerParams, param
from tta.ops.contrastive import contrast_with_prototypes, make_projector
from tta.ops.losses import soft_cross_entropy
from tta.ops.norm.batch_norm import replace_batch_norm
from tta.ops.parameters import all_parameters, norm_affine_parameters
from tta.ops.views.augment import CottaAugment
from tta.source.prototypes import source_prototypes
from tta.source.source_data import SourceData


class Santa(Method):
    """Anchors the adapted model to the frozen source model and aligns it to source prototypes.

    Loss of a batch x with augmented view T(x) and the source model a, which normalises with
    batch statistics as well: ``-1/2 sum p(x) log a(x) - 1/2 sum p(T(x)) log a(x)``, whose
    gradient flows through the adapted p, so that p concentrates on the anchor's likeliest class;
    and RMT's contrastive term over {nearest source prototype, g(x), g(T(x))}. The affine
    parameters of norm layers and a projector are trained. Outputs are the adapted model's before
    the update (Chakrabarty et al., TMLR 2023).
    """

    name = "santa"
    paper = "Chakrabarty et al., SANTA: source anchoring network and target alignment, TMLR 2023"
    state = ("parameters", "optimizer")
    prepared = ("prototypes",)

    @dataclass(frozen=True)
    class Params(OptimizerParams):
        """Hyper-parameters; the defaults are those for CIFAR."""

        lambda_target: float = param(1.0, "weight of the anchored loss", minimum=0.0)
        lambda_contrastive: float = param(1.0, "weight of the contrastive loss", minimum=0.0)
        temperature: float = param(0.1, "temperature of the contrastive loss", minimum=1e-6)
        projection_dim: int = param(
            128, "width of the projector; 0 for none", unit="features", minimum=0, maximum=65_536
        )

    @classmethod
    def needs(cls, params: Any) -> frozenset[Need]:
        return frozenset({Need.NORM_AFFINE, Need.SOURCE_AT_PREPARE, Need.SOURCE_LABELS})

    def configure(self) -> None:
        replace_batch_norm(self.backbone)
        self.anchor = self.backbone.clone()
        self.projector = make_projector(
            self.backbone.feature_dim, self.params.projection_dim, self.generator.initial_seed()
        ).to(next(self.backbone.parameters()).device)
        self.parameters = trainable(
            [*norm_affine_parameters(self.backbone), *all_parameters(self.projector)]
        )
        self.optimizer = make_optimizer(self.parameters, self.params)
        self.augment = CottaAugment()

    def prepare(self, source: SourceData) -> None:
        self.prototypes = source_prototypes(self.backbone, source)

    def step(self, images: Tensor) -> Tensor:
        features = self.backbone.features(images)
        view = self.backbone.features(self.augment(images, self.generator))
        logits = self.backbone.head(features)
        loss = self.params.lambda_target * self._anchored(logits, view, self._anchor(images))
        loss = loss + self.params.lambda_contrastive * self._contrastive(features, view)
        descend(self.optimizer, loss)
        return logits.detach()

    @torch.no_grad()
    def _anchor(self, images: Tensor) -> Tensor:
        return self.anchor(images)

    def _anchored(self, logits: Tensor, view: Tensor, anchor_logits: Tensor) -> Tensor:
        plain = soft_cross_entropy(anchor_logits, logits)
        augmented = soft_cross_entropy(anchor_logits, self.backbone.head(view))
        return (0.5 * plain + 0.5 * augmented).mean()

    def _contrastive(self, features: Tensor, view: Tensor) -> Tensor:
        return contrast_with_prototypes(
            features, view, self.prototypes, self.projector, self.params.temperature
        )
