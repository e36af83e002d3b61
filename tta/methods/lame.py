"""LAME: laplacian adjusted maximum-likelihood estimation, in the output space alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tta.methods.base import Method
from tta.methods.lame_optimization import (
    knn_affinity,
    laplacian_optimization,
    linear_affinity,
    rbf_affinity,
    symmetrize,
)
from tta.methods.params import param


class Lame(Method):
    """Smooths the source model's probabilities over neighbours in feature space.

    The model is not touched: evaluation mode, source statistics (Boudiaf et al., CVPR 2022). A
    batch of one has no neighbours and keeps the source's probabilities. Outputs are
    probabilities.
    """

    name = "lame"
    paper = "Boudiaf et al., Parameter-free online test-time adaptation, CVPR 2022"
    predicts = "after"
    outputs = "probabilities"

    @dataclass(frozen=True)
    class Params:
        """Hyper-parameters; the defaults are those of the released code."""

        affinity: str = param("rbf", "kernel between features", choices=("knn", "rbf", "linear"))
        k: int = param(5, "neighbours (knn), or rank that sets the bandwidth (rbf)", minimum=1)
        force_symmetry: bool = param(False, "average the affinity with its transpose")
        max_steps: int = param(100, "iterations at most", minimum=1)

    @classmethod
    def keeps_network(cls, params: Any) -> bool:
        return True

    @torch.no_grad()
    def step(self, images: Tensor) -> Tensor:
        features = self.backbone.features(images)
        probabilities = self.backbone.head(features).softmax(1)
        affinity = self._affinity(features)
        if self.params.force_symmetry:
            affinity = symmetrize(affinity)
        return laplacian_optimization(probabilities, affinity, max_steps=self.params.max_steps)

    def _affinity(self, features: Tensor) -> Tensor:
        if self.params.affinity == "linear":
            return linear_affinity(features)
        kernel = knn_affinity if self.params.affinity == "knn" else rbf_affinity
        return kernel(features, self.params.k)

    def predict(self, images: Tensor) -> Tensor:
        return self.step(images)
