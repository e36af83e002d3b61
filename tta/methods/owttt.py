"""OWTTT: open-world test-time training with prototypes of the known and of the unknown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from tta.foundation.from_host import from_host
from tta.methods.base import Method, Need, descend, make_optimizer, trainable
from tta.methods.owttt_alignment import GaussianSums, divergence, follow
from tta.methods.owttt_threshold import far_from_threshold, new_prototypes
from tta.methods.params import OptimizerParams, param
from tta.methods.trained import feature_parameters
from tta.ops.memory import array_of
from tta.ops.norm.batch_norm import (
    EmaBatchNorm,
    following,
    replace_batch_norm,
    require_source_statistics,
)
from tta.ops.selection import selected_mean
from tta.ops.two_groups import two_group_threshold
from tta.source.prototypes import class_prototypes
from tta.source.source_data import SourceData

_ALIGNMENT_SCALE = 0.05
_MEMORY_OF_MOMENTS = 1280
"""Features that the target's moments are averaged over."""


class OpenWorldTraining(Method):
    """Draws known features to their source class, unknown ones to each other, all to the source.

    A class's prototype is the mean feature of the source images that the source network gives to
    it. Test samples are known or unknown by the distance to the nearest one, on either side of a
    threshold that divides the latest distances best. Unknown samples unlike all before become
    prototypes themselves. The surer half of each side is drawn to its prototype (clustering), and
    a Gaussian over the known features to that of the source (alignment); the known images alone
    move the running statistics, which everything else is computed with. The whole feature
    extractor is trained (Li et al., ICCV 2023).

    Outputs are cosines to the class prototypes over the temperature, after the update; what looks
    known is judged by the largest cosine.

    Where one side has no sure sample its part of the clustering loss is left out, which in the
    published code makes the loss, and with it the network, NaN. Where no threshold divides the
    distances, samples at an acute angle to a class are known; there, none is.
    """

    name = "owttt"
    title = "OWTTT"
    paper = "Li et al., On the robustness of open-world test-time training, ICCV 2023"
    predicts = "after"
    rejection = "queue"
    state = ("parameters", "statistics", "optimizer", "distances", "pool", "moments", "seen")
    prepared = ("prototypes", "source_mean", "source_covariance")

    @dataclass(frozen=True)
    class Params(OptimizerParams):
        """Hyper-parameters; the defaults are those for CIFAR-10."""

        optimizer: str = param("sgd", "optimiser", choices=("adam", "sgd"))
        lr: float = param(0.01, "learning rate", minimum=0.0)
        nesterov: bool = param(False, "Nesterov momentum (SGD)")
        temperature: float = param(0.1, "delta: temperature of the cosines", minimum=1e-6)
        alignment_weight: float = param(1.0, "weight of the alignment", minimum=0.0)
        clustering_weight: float = param(0.2, "weight of the clustering", minimum=0.0)
        queue_size: int = param(
            512, "N_m: latest distances that the threshold divides", unit="samples", minimum=1
        )
        pool_size: int = param(
            100, "prototypes of the unknown", unit="features", minimum=1, maximum=65_536
        )

    @classmethod
    def needs(cls, params: Any) -> frozenset[Need]:
        return frozenset({Need.SOURCE_AT_PREPARE})

    def configure(self) -> None:
        require_source_statistics(self.backbone)
        self.layers = replace_batch_norm(self.backbone, _following_as_trained)
        self.statistics = [tensor for layer in self.layers for tensor in layer.source_moments]
        self.parameters = trainable(feature_parameters(self.backbone))
        self.optimizer = make_optimizer(self.parameters, self.params)
        dim, device = self.backbone.feature_dim, self.backbone.mean.device
        self.distances = torch.zeros(0)
        self.pool = torch.zeros(0, dim, device=device)
        self.moments = [torch.zeros(dim, device=device), torch.zeros(dim, dim, device=device)]
        self.seen = 0

    @torch.no_grad()
    def prepare(self, source: SourceData) -> None:
        sums = GaussianSums()
        means = class_prototypes(self._pairs(source, sums), self.backbone.num_classes)
        self.prototypes = F.normalize(means, dim=1)
        self.source_mean, self.source_covariance = sums.gaussian()

    def _pairs(self, source: SourceData, sums: GaussianSums) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield features and the classes that the network gives to them, and sum them up."""
        for images, _ in source.one_pass():
            features = self.backbone.features(images)
            sums.add(features)
            yield features, self.backbone.head(features).argmax(1)

    def step(self, images: Tensor) -> Tensor:
        unit = F.normalize(self.backbone.features(images), dim=1)
        cosines = unit @ self.prototypes.T
        known, unknown, sure, new = self._decide(unit.detach(), cosines.detach())
        losses = []
        if len(self.pool) and sure.any():
            losses.append(self._clustering(unit, cosines, known & sure, unknown & sure))
        if known.any():
            rows = from_host(torch.from_numpy(np.flatnonzero(known)), images.device)
            losses.append(self._alignment(images[rows]))
        if losses:
            descend(self.optimizer, sum(losses))
        rows = from_host(torch.tensor(new, dtype=torch.long), images.device)
        self.pool = torch.cat([self.pool, unit.detach()[rows]])[-self.params.pool_size :]
        return self.predict(images)

    def _decide(
        self, unit: Tensor, cosines: Tensor
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[int]]:
        """Return masks ``[B]`` of the known, the unknown and the sure, and the new prototypes."""
        alike = cosines.amax(1, keepdim=True)
        # The one wait for the device: who is known decides whose statistics and losses there are.
        found = array_of(torch.cat([alike, unit @ self.pool.T, unit @ unit.T], 1).cpu())
        alike, pool, between = np.split(found, [1, 1 + len(self.pool)], 1)
        distance = 1 - alike[:, 0]
        finite = np.isfinite(distance)
        latest = torch.cat([self.distances, torch.from_numpy(distance[finite])])
        self.distances = latest[-self.params.queue_size :]
        threshold = two_group_threshold(array_of(self.distances), otherwise=1.0)
        known, unknown = finite & (distance < threshold), finite & (distance >= threshold)
        sure = far_from_threshold(distance, known, unknown)
        new = new_prototypes(distance, pool, between, unknown, self.params.pool_size)
        return known, unknown, sure, new

    def _clustering(
        self, unit: Tensor, cosines: Tensor, known: np.ndarray, unknown: np.ndarray
    ) -> Tensor:
        """Return how far sure features are from their prototypes, a scalar."""
        nearest = (unit @ self.pool.T).amax(1, keepdim=True)
        logits = torch.cat([cosines, nearest], 1) / self.params.temperature
        masks = from_host(torch.from_numpy(np.stack([known, unknown])), unit.device)
        own = F.cross_entropy(logits[:, :-1], cosines.argmax(1), reduction="none")
        other = torch.full_like(own, cosines.shape[1], dtype=torch.long)
        foreign = F.cross_entropy(logits, other, reduction="none")
        both = selected_mean(own, masks[0]) + selected_mean(foreign, masks[1])
        return self.params.clustering_weight * both / 2

    def _alignment(self, images: Tensor) -> Tensor:
        """Return how far the Gaussian of known features is from the source's, a scalar."""
        with following(self.layers):
            features = self.backbone.features(images)
        self.seen += len(images)
        rate = 1 / min(self.seen, max(_MEMORY_OF_MOMENTS, len(images)))
        moments = follow(tuple(self.moments), features, rate)
        self.moments = [moment.detach() for moment in moments]
        apart = divergence(
            (self.source_mean, self.source_covariance), moments, self.source_covariance.max() / 30
        )
        return self.params.alignment_weight * _ALIGNMENT_SCALE * apart

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        unit = F.normalize(self.backbone.features(images), dim=1)
        return unit @ self.prototypes.T / self.params.temperature

    def score(self, outputs: Tensor) -> Tensor:
        return self.params.temperature * outputs.amax(1)


def _following_as_trained(layer: _BatchNorm) -> EmaBatchNorm:
    return EmaBatchNorm(layer, layer.momentum)
