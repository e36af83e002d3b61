"""SHOT-IM: information maximisation, online."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from tta.methods.base import Need
from tta.methods.params import OptimizerParams, param
from tta.methods.tent import Tent
from tta.ops.losses import information_maximization


class ShotInformationMaximization(Tent):
    """Makes single predictions certain and their batch mean diverse.

    The whole feature extractor is trained and the classifier is not: source and target shall
    share the hypothesis (Liang et al., ICML 2020; online in Boudiaf et al., CVPR 2022).
    """

    name = "shot_im"
    paper = "Liang et al., Do we really need to access the source data?, ICML 2020"

    @dataclass(frozen=True)
    class Params(OptimizerParams):
        """Hyper-parameters; the defaults are LAME's for its baselines."""

        optimizer: str = param("sgd", "optimiser", choices=("adam", "sgd"))
        weight_decay: float = param(1e-4, "weight decay", minimum=0.0)

    @classmethod
    def needs(cls, params: Any) -> frozenset[Need]:
        return frozenset()

    def adapted_parameters(self) -> list[nn.Parameter]:
        head = set(self.backbone.classifier.parameters())
        return [parameter for parameter in self.backbone.parameters() if parameter not in head]

    def loss(self, logits: Tensor) -> Tensor:
        return information_maximization(logits)
