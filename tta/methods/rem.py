"""REM: ranked entropy minimisation; what is masked more may be no more certain."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn

from tta.backbones.stages import early_norm_parameters
from tta.backbones.vision_transformer import PatchChoice, attended_logits
from tta.methods.base import Need, descend
from tta.methods.params import OptimizerParams, param
from tta.methods.tent import Tent
from tta.ops.losses import entropy, soft_cross_entropy
from tta.ops.selection import entropy_margin


class RankedEntropyMinimization(Tent):
    """Ranks the predictions of a vision transformer by how much of the object it was shown.

    A chain of views leaves out more and more of the patches that the class token attends to most.
    Each view learns from every view that shows more, by cross-entropy against its prediction, and
    is to be no more certain than it, by a hinge on the entropies, which trains the one that shows
    more (Han et al., ICML 2025). Layer norms are trained but for those of the last stages.
    Outputs are those of the whole image before the update.
    """

    name = "rem"
    paper = "Han et al., Ranked entropy minimization for continual TTA, ICML 2025"

    @dataclass(frozen=True)
    class Params(OptimizerParams):
        """Hyper-parameters, as published for ViT-B on CIFAR and ImageNet-C."""

        mask_step: float = param(
            0.1, "share of the patches that each view lacks more", minimum=0.0, maximum=1.0
        )
        views: int = param(
            3, "views, the whole image included", unit="views", minimum=2, maximum=4096
        )
        rank_weight: float = param(1.0, "lambda: weight of the hinge on entropies", minimum=0.0)
        margin: float = param(
            0.0, "by how much entropy is to rise, as a fraction of ln C", minimum=0.0
        )
        frozen_share: float = param(
            0.25, "share of the last stages that is not trained", minimum=0.0, maximum=0.75
        )

    @classmethod
    def needs(cls, params: Any) -> frozenset[Need]:
        return frozenset({Need.NORM_AFFINE, Need.VISION_TRANSFORMER})

    def configure(self) -> None:
        super().configure()
        self.margin = entropy_margin(self.params.margin, self.backbone.num_classes)
        self.patches = PatchChoice(self.backbone)

    def adapted_parameters(self) -> list[nn.Parameter]:
        return early_norm_parameters(self.backbone, self.params.frozen_share)

    def step(self, images: Tensor) -> Tensor:
        logits, attention = attended_logits(self.backbone, images)
        views = [logits, *self._masked(images, attention)]
        descend(self.optimizer, self.ranking_loss(views))
        return logits.detach()

    def _masked(self, images: Tensor, attention: Tensor) -> list[Tensor]:
        count = attention.shape[1]
        order = attention.argsort(1)  # the least attended first
        shares = (1 - view * self.params.mask_step for view in range(1, self.params.views))
        sizes = (max(1, int(count * share + 1e-9)) for share in shares)
        return [self.patches.run(self.backbone, images, order[:, :size]) for size in sizes]

    def ranking_loss(self, views: list[Tensor]) -> Tensor:
        """Return the loss of logits ``[B, C]`` of views that show less and less, a scalar."""
        learning, ranking = [], []
        for more, less in combinations(views, 2):
            learning.append(soft_cross_entropy(less, more.detach()))
            ranking.append((entropy(more) - entropy(less).detach() + self.margin).relu())
        loss = torch.stack(learning) + self.params.rank_weight * torch.stack(ranking)
        return loss.mean(1).sum()
