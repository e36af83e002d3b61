"""Mixed batch normalisation in plain operations, which a compiler fuses with their neighbours.

One pass reads the activations for both moments, a second normalises them together with whatever
follows (an activation, a residual sum); the gradient likewise takes two. Kernels called by name,
as :mod:`tta.ops.norm.mixed_batch_norm` calls them, keep a compiler from both.
"""

from __future__ import annotations

import torch
from torch import Tensor


def fusible_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance per channel of ``x`` ``[B, C, ...]``, as float32 ``[C]``.

    Differentiable. Distances are taken from the channel's first value: unlike those from zero
    they keep their digits where the mean is far from zero, and unlike those from the mean they are
    known before the pass begins. Images are summed up apart, which keeps sums short.
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    inner = list(range(2, x.dim()))
    origin = wide.detach()[:1]
    origin = origin[(slice(None), slice(None), *[slice(0, 1)] * len(inner))]
    distance = wide - origin
    if inner:
        first, second = distance.mean(inner), distance.square().mean(inner)
    else:
        first, second = distance, distance.square()
    first, second = first.mean(0), second.mean(0)
    return origin.flatten() + first, (second - first.square()).clamp_min(0)


def fusible_batch_norm(
    x: Tensor,
    moments: tuple[Tensor, Tensor],
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> Tensor:
    """Return ``weight * (x - mean) / sqrt(var + eps) + bias`` in the type of ``x``."""
    shape = [1, -1] + [1] * (x.dim() - 2)
    mean, var = moments
    scale = torch.rsqrt(var + eps)
    scale = scale if weight is None else scale * weight
    y = (x - mean.view(shape)) * scale.view(shape)
    y = y if bias is None else y + bias.view(shape)
    return y.to(x.dtype)
