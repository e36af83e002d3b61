"""SHOT-IM: information maximisation, online."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from tta.methods.base import Need
from tta.methods.params import OptimizerParams, param
from tta.methods.tent import Tent
from tta.methods.trained import feature_parameters
from tta.ops.losses import information_maximization


class ShotInformationMaximization(Tent):
    """Makes single predictions certain and their batch mean diverse.

    The whole feature extractor is trained and the classifier is not: source and target shall
    share the hypothesis (Liang et al., ICML 2020, there offline).

    The online baseline of Boudiaf et al. (CVPR 2022; fiveai/LAME) trains the affine parameters
    of norm layers alone, without momentum: ``trained=norm momentum=0``. Its steps are then the
    same, on the statistics of the test batch. What it shows is not: its figures come from a
    second pass after the update, an evaluation with the source's statistics. On 3,000 real
    CIFAR-10-C images (ResNet-20, batches of 200) it shows an error of 49.40 %; the predictions of
    its steps, which are the outputs here, have one of 28.03 %.

    Of segmentation the mean prediction is that of all pixels of the batch. No source defines that:
    classes of pixels are far from equally frequent, and the term draws them towards it.
    """

    name = "shot_im"
    capturable = True
    dense = {"lr": 2.5e-4}
    paper = "Liang et al., Do we really need to access the source data?, ICML 2020"

    @dataclass(frozen=True)
    class Params(OptimizerParams):
        """Hyper-parameters; learning rate and weight decay are those of LAME's baseline."""

        trained: str = param(
            "features",
            "all parameters but the classifier's, or the affine parameters of norm layers",
            choices=("features", "norm"),
        )
        optimizer: str = param("sgd", "optimiser", choices=("adam", "sgd"))
        weight_decay: float = param(1e-4, "weight decay", minimum=0.0)

    @classmethod
    def needs(cls, params: Any) -> frozenset[Need]:
        return super().needs(params) if params.trained == "norm" else frozenset()

    def adapted_parameters(self) -> list[nn.Parameter]:
        if self.params.trained == "norm":
            return super().adapted_parameters()
        return feature_parameters(self.backbone)

    def loss(self, logits: Tensor) -> Tensor:
        return information_maximization(logits)
