"""EATA: ETA with a penalty on moving what source predictions hang on."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from tta.methods.base import Need
from tta.methods.eata_fisher import diagonal_fisher
from tta.methods.eta import Eta
from tta.methods.params import param
from tta.ops.norm.batch_norm import source_statistics
from tta.source.source_data import SourceData


class Eata(Eta):
    """Adds ``fisher_weight * sum_j F_j (theta_j - theta_j^source)^2`` to the loss of ETA.

    F is the diagonal Fisher information of the source model, estimated once on source images
    without their labels (Niu et al., ICML 2022).

    The paper squares the gradient of every image. The published code squares the mean gradient
    of a batch, taken with the batch's statistics, which gives far smaller values; published
    weights were chosen for those, and ``compat`` computes them.
    """

    name = "eata"
    dense = {"optimizer": "sgd", "lr": 2.5e-4, "fisher_samples": 200}
    prepared = ("fisher",)

    @dataclass(frozen=True)
    class Params(Eta.Params):
        """Hyper-parameters; the defaults are those for CIFAR-10."""

        fisher_weight: float = param(1.0, "beta: weight of the penalty", minimum=0.0)
        fisher_samples: int = param(
            2000, "source images the Fisher information is estimated on", unit="images", minimum=1
        )
        compat: bool = param(
            False, "square the gradients of batches, as the published code does, not of images"
        )

    @classmethod
    def needs(cls, params: Any) -> frozenset[Need]:
        return super().needs(params) | {Need.SOURCE_AT_PREPARE}

    def configure(self) -> None:
        super().configure()
        self.source_parameters = parameters_to_vector(self.parameters).detach()

    def prepare(self, source: SourceData) -> None:
        groups, statistics = source.first_images(self.params.fisher_samples), nullcontext()
        if not self.params.compat:
            groups = (image for images in groups for image in images.split(1))
            statistics = source_statistics(self.layers)  # an image alone has none of a batch
        # In full precision: squares of gradients leave the range of float16.
        with statistics, self.backbone.in_precision(torch.float32):
            self.fisher = diagonal_fisher(self.backbone, self.parameters, groups)

    def objective(self, uncertainty: Tensor, selected: Tensor) -> Tensor:
        moved = parameters_to_vector(self.parameters) - self.source_parameters
        penalty = torch.dot(self.fisher, moved.square())
        return super().objective(uncertainty, selected) + self.params.fisher_weight * penalty
