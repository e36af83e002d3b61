"""MTA: the mode of an image's views, which it weighs against each other on the way."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tta.methods.params import param
from tta.methods.viewed import ViewedMethod, ViewParams

_ROUNDS, _STEPS = 5, 5
_SETTLED = 1e-6
_SMALLEST = 1e-12
"""Of bandwidths and sums: views that are all alike have none."""


def mode(
    features: Tensor,
    probabilities: Tensor,
    affinity_weight: float = 4.0,
    entropy_weight: float = 0.2,
    neighbours: float = 0.3,
) -> tuple[Tensor, Tensor]:
    """Return the mode of views, a unit vector ``[D]``, and what each of them adds to it ``[N]``.

    Mean shift with a bandwidth per view, and a score y of each view that is large near the mode
    and where similar predictions score too: in each of five rounds, until either settles,
    y = softmax((K + affinity_weight A y) / entropy_weight), then m = unit(sum K y f).

    Args:
        features: unit, ``[N, D]``; the search begins at the first.
        probabilities: ``[N, C]``, of whose products A consists.
        affinity_weight: the paper's lambda_q.
        entropy_weight: lambda_y.
        neighbours: share of the other views by whose distances bandwidths are set.
    """
    if len(features) == 1:
        return features[0], features.new_ones(1)
    squared = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist").square()
    near = max(1, int(neighbours * (len(features) - 1)))
    bandwidths = (squared.sort(1).values[:, 1 : near + 1].mean(1) / 2).clamp_min(_SMALLEST)
    affinity = probabilities @ probabilities.T
    y, m = features.new_full((len(features),), 1 / len(features)), features[0]
    for _ in range(_ROUNDS):
        density = _density(features, m, bandwidths)
        y = _scores(y, density, affinity, affinity_weight, entropy_weight)
        m = _shifted(m, y, features, bandwidths)
    return m, _density(features, m, bandwidths) * y


def _density(features: Tensor, m: Tensor, bandwidths: Tensor) -> Tensor:
    return (-(features - m).square().sum(1) / (2 * bandwidths)).exp()


def _scores(
    y: Tensor, density: Tensor, affinity: Tensor, affinity_weight: float, entropy_weight: float
) -> Tensor:
    settled = torch.zeros((), dtype=torch.bool, device=y.device)
    for _ in range(_STEPS):  # all of them: to stop would wait for the device
        found = ((density + affinity_weight * affinity @ y) / entropy_weight).softmax(0)
        found = torch.where(settled, y, found)
        settled = settled | ((found - y).norm() < _SETTLED)
        y = found
    return y


def _shifted(m: Tensor, y: Tensor, features: Tensor, bandwidths: Tensor) -> Tensor:
    settled = torch.zeros((), dtype=torch.bool, device=m.device)
    for _ in range(_STEPS):
        weights = _density(features, m, bandwidths) * y
        found = F.normalize(weights @ features / weights.sum().clamp_min(_SMALLEST), dim=0)
        found = torch.where(settled, m, found)
        settled = settled | ((found - m).norm() < _SETTLED)
        m = found
    return m


class Mta(ViewedMethod):
    """Classifies the mode of an image's views, found by a robust mean shift (Zanella and Ben Ayed).

    Nothing is adapted; no view is left out beforehand.
    """

    name = "mta"
    paper = "Zanella and Ben Ayed, On the test-time zero-shot generalization of VLMs, CVPR 2024"

    @dataclass(frozen=True)
    class Params(ViewParams):
        """Hyper-parameters; the defaults are the authors', for all data sets."""

        affinity_weight: float = param(4.0, "lambda_q: weight of similar predictions", minimum=0.0)
        entropy_weight: float = param(0.2, "lambda_y: evenness of scores", minimum=0.001)
        neighbours: float = param(
            0.3, "share of the other views that set a view's bandwidth", minimum=0.0, maximum=1.0
        )

    @torch.no_grad()
    def episode(self, features: Tensor) -> Tensor:
        params, probabilities = self.params, self.backbone.head(features).softmax(1)
        weights = params.affinity_weight, params.entropy_weight, params.neighbours
        found, _ = mode(features, probabilities, *weights)
        return self.backbone.head(found[None])[0]
