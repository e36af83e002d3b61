"""Instance-aware batch normalisation: running statistics, corrected per image where they fail."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tta.ops.norm.batch_norm import EmaBatchNorm

THRESHOLD = 4.0
"""k of NOTE: standard errors by which an image's statistics must differ to count."""


def instance_aware_moments(
    x: Tensor, mean: Tensor, var: Tensor, threshold: float, eps: float
) -> tuple[Tensor, Tensor]:
    """Return mean and variance ``[B, C, 1, ...]`` of each image, mostly those given.

    An image's own statistics over its L positions are estimates: if it were drawn from the given
    ones, their standard errors would be ``sqrt(var / L)`` and ``var * sqrt(2 / (L - 1))``. What
    lies further off than ``threshold`` of these moves the given statistics by the excess (soft
    shrinkage). With a single position the given ones are returned. NOTE (Gong et al., NeurIPS
    2022), eq. 3-5; as in its code, ``eps`` is part of ``var``, so that constant channels have
    gradients.

    Args:
        x: activations ``[B, C, ...]``.
        mean: ``[C]``.
        var: unbiased variance ``[C]``.
        threshold: at least 0; without bound gives batch, 0 gives instance normalisation.
        eps: added to the variance.
    """
    shape = [1, -1] + [1] * (x.dim() - 2)
    mean, var = mean.view(shape), var.view(shape)
    positions = x[0, 0].numel()
    if positions < 2:
        return mean, var
    own_var, own_mean = torch.var_mean(x, list(range(2, x.dim())), correction=1, keepdim=True)
    error = ((var + eps) / positions).sqrt()
    var_error = (var + eps) * math.sqrt(2 / (positions - 1))
    corrected = var + _shrink(own_var - var, threshold * var_error)
    return mean + _shrink(own_mean - mean, threshold * error), corrected.relu()


def _shrink(x: Tensor, threshold: Tensor) -> Tensor:
    return x - x.clamp(-threshold, threshold)


class InstanceAwareBatchNorm(EmaBatchNorm):
    """IABN of NOTE (Gong et al., NeurIPS 2022), in place of a batch-norm layer.

    Corrects the running statistics for each image; while it follows, those of the batch, towards
    which it moves the running ones. All variances are unbiased.
    """

    instance_aware = True

    def normalize(self, x: Tensor) -> Tensor:
        dtype, x = x.dtype, x.float()  # half-precision moments would lose digits or overflow
        mean, var = instance_aware_moments(x, *self._moments(x), THRESHOLD, self.eps)
        shape = [1, -1] + [1] * (x.dim() - 2)
        normal = (x - mean) * torch.rsqrt(var + self.eps)
        if self.weight is not None:
            normal = normal * self.weight.view(shape) + self.bias.view(shape)
        return normal.to(dtype)

    def _moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if not self.follow or x.numel() // x.shape[1] < 2:
            return self.source_moments
        var, mean = torch.var_mean(x, [dim for dim in range(x.dim()) if dim != 1], correction=1)
        self.running_mean.lerp_(mean.detach(), self.momentum)
        self.running_var.lerp_(var.detach(), self.momentum)
        return mean, var


def instance_aware_layers(model: nn.Module) -> list[InstanceAwareBatchNorm]:
    """Return the instance-aware layers of a model, none if it was not trained with them."""
    return [layer for layer in model.modules() if isinstance(layer, InstanceAwareBatchNorm)]
