"""StatA: Gaussians of the classes in a batch, held to those that the text describes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tta.methods.base import Method, Need
from tta.methods.params import param

_INNER_STEPS = 5
_TEMPER = 50
"""By which the likelihoods are divided in the released code."""
_CHUNK = 256
"""Images whose distances to all classes are held at a time."""
_SMALLEST = 1e-12


class Gaussians(NamedTuple):
    """Means ``[C, D]``, unit, and diagonal variances ``[C, D]`` of classes."""

    means: Tensor
    variances: Tensor

    def log_likelihoods(self, features: Tensor) -> Tensor:
        """Return those of ``[B, D]``, ``[B, C]``, without the constant."""
        precision = 1 / self.variances
        parts = [
            ((chunk[:, None] - self.means).square() * precision).sum(2)
            for chunk in features.split(_CHUNK)
        ]
        return -0.5 * (torch.cat(parts) + self.variances.log().sum(1))


class StatA(Method):
    """Assigns the images of a batch to classes together, without a memory of other batches.

    Every class has a Gaussian, which begins at its text embedding. In ten rounds images are
    assigned by likelihood, by the zero-shot prediction and by what their nearest neighbours are
    assigned to; then means and variances become those of the assigned images, the more of them
    the further from the text's: the share is n / (alpha + n) (Zanella et al., CVPR 2025). A lone
    image has no neighbours, a small batch all others. Outputs are the assignments.

    The initial variance is a mean over the batch. In the released code a batch of more than 2,500
    images divides that of its first images once more by its size, by a slip.
    """

    name = "stata"
    paper = "Zanella et al., Realistic test-time adaptation of vision-language models, CVPR 2025"
    predicts = "after"
    outputs = "probabilities"

    @dataclass(frozen=True)
    class Params:
        """Hyper-parameters; the defaults are the authors', for all data sets."""

        alpha: float = param(
            1.0, "images that weigh as much as the text", unit="images", minimum=0.0
        )
        zero_shot_weight: float = param(1.0, "lambda_y: exponent of predictions", minimum=0.0)
        laplacian_weight: float = param(1.0, "lambda_L: weight of neighbours", minimum=0.0)
        neighbours: int = param(3, "k: of each image", unit="images", minimum=1)
        rounds: int = param(10, "rounds", unit="rounds", minimum=0, maximum=1000)
        soft_beta: bool = param(False, "count images by probability and not by the likeliest class")

    @classmethod
    def needs(cls, params: Any) -> frozenset[Need]:
        return frozenset({Need.IMAGE_TEXT})

    @classmethod
    def keeps_network(cls, params: Any) -> bool:
        return True

    def configure(self) -> None:
        self.text = F.normalize(self.backbone.class_rows, dim=1)

    @torch.no_grad()
    def step(self, images: Tensor) -> Tensor:
        features = self.backbone.features(images)
        return self.assigned(features, self.backbone.head(features))

    def predict(self, images: Tensor) -> Tensor:
        return self.step(images)

    def assigned(self, features: Tensor, logits: Tensor) -> Tensor:
        """Return probabilities ``[B, C]`` from unit features ``[B, D]`` and zero-shot logits."""
        prior = self.params.zero_shot_weight * logits.log_softmax(1)
        neighbours = nearest(features, self.params.neighbours)
        z = logits.softmax(1)
        variance = weighted_spread(features, z, self.text).sum(0) / len(features)
        first = variance.clamp_min(_SMALLEST).expand_as(self.text)
        gaussians = Gaussians(self.text, first)
        for _ in range(self.params.rounds):
            z = self._assign(features, z, prior, neighbours, gaussians)
            gaussians = self._fit(features, z, first)
        return self._assign(features, z, prior, neighbours, gaussians)

    def _assign(
        self, features: Tensor, z: Tensor, prior: Tensor, neighbours: Tensor, gaussians: Gaussians
    ) -> Tensor:
        likelihoods = gaussians.log_likelihoods(features)
        weight = self.params.laplacian_weight * _TEMPER / (2 * self.params.neighbours)
        for _ in range(_INNER_STEPS):
            drawn = weight * (neighbours.T @ z + neighbours @ z)
            z = (prior + (likelihoods + drawn) / _TEMPER).softmax(1)
        return z

    def _fit(self, features: Tensor, z: Tensor, first: Tensor) -> Gaussians:
        """Return the Gaussians of assigned features, mixed with those of the text."""
        sums = z.sum(0)
        counts = sums if self.params.soft_beta else _members(z)
        beta = (counts / (self.params.alpha + counts + _SMALLEST))[:, None]
        own = F.normalize(z.T @ features, dim=1)
        means = F.normalize(beta * own + (1 - beta) * self.text, dim=1)
        spread = weighted_spread(features, z, means) / sums.clamp_min(_SMALLEST)[:, None]
        anchored = first + (self.text - means).square()
        variances = beta * spread + (1 - beta) * anchored
        return Gaussians(means, variances.clamp_min(_SMALLEST))


def nearest(features: Tensor, count: int) -> Tensor:
    """Return the cosines of each image's nearest others, 0 elsewhere, ``[B, B]``.

    Args:
        features: unit ``[B, D]``.
        count: of neighbours; all others where there are fewer.
    """
    cosines = (features @ features.T).fill_diagonal_(-torch.inf)
    found = cosines.topk(min(count, len(features) - 1), dim=1)
    return torch.zeros_like(cosines).scatter(1, found.indices, found.values)


def weighted_spread(features: Tensor, z: Tensor, means: Tensor) -> Tensor:
    """Return ``sum_i z_ic (f_i - m_c)^2`` ``[C, D]``.

    Args:
        features: ``[B, D]``.
        z: ``[B, C]``.
        means: ``[C, D]``.
    """
    total = torch.zeros_like(means)
    for part, weights in zip(features.split(_CHUNK), z.split(_CHUNK), strict=True):
        total += ((part[:, None] - means).square() * weights[..., None]).sum(0)
    return total


def _members(z: Tensor) -> Tensor:
    classes = torch.arange(z.shape[1], device=z.device)
    return (z.argmax(1)[:, None] == classes).sum(0).to(z.dtype)
