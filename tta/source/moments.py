"""Moments of what goes into a source model's batch-norm layers, over many images."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from tta.backbones.backbone import Backbone
from tta.ops.norm.input_moments import measured_inputs


@torch.no_grad()
def input_moments(backbone: Backbone, batches: Iterable[Tensor]) -> dict[str, Tensor]:
    """Return mean and variance ``[2, C]`` of each batch-norm layer's input, by its name.

    Names are those in ``backbone.model``. Layers normalise with the source statistics.

    Args:
        backbone: in evaluation mode.
        batches: of images ``[B, 3, H, W]`` in [0, 1], at least one.
    """
    sums: dict[str, Tensor] = {}
    seen = 0
    with measured_inputs(backbone.model) as found:
        for images in batches:
            backbone.features(images)
            seen += len(images)
            for name, (mean, var) in found.items():
                squares = torch.stack([mean, var + mean.square()]) * len(images)
                sums[name] = sums.get(name, 0) + squares
    return {name: _moments(total / seen) for name, total in sums.items()}


def _moments(means: Tensor) -> Tensor:
    """Return mean and variance of a mean and a mean square ``[2, C]``."""
    return torch.stack([means[0], (means[1] - means[0].square()).clamp_min(0)])
