"""Instance-aware batch normalisation: running statistics, corrected per image where they fail."""

from __future__ import annotations

import math

from torch import Tensor, nn

from tta.ops.norm.batch_norm import EmaBatchNorm
from tta.ops.norm.imagewise import imagewise_affine, per_channel, position_count, scale_and_shift

THRESHOLD = 4.0
"""k of NOTE: standard errors by which an image's statistics must differ to count."""


def instance_aware_moments(
    own_mean: Tensor,
    own_var: Tensor,
    mean: Tensor,
    var: Tensor,
    positions: int,
    threshold: float,
    eps: float,
) -> tuple[Tensor, Tensor]:
    """Return ``own_mean`` less the mean of each image, and its variance; mostly those given.

    An image's own statistics over its L positions are estimates: if it were drawn from the given
    ones, their standard errors would be ``sqrt(var / L)`` and ``var * sqrt(2 / (L - 1))``. What
    lies further off than ``threshold`` of these moves the given statistics by the excess (soft
    shrinkage). With a single position the given ones stay. NOTE (Gong et al., NeurIPS 2022),
    eq. 3-5; as in its code, ``eps`` is part of ``var``, so that constant channels have gradients.

    Args:
        own_mean: of each image and channel ``[B, C, 1, ...]``.
        own_var: unbiased, of the same shape.
        mean: given ``[1, C, 1, ...]``.
        var: given, unbiased ``[1, C, 1, ...]``.
        positions: L.
        threshold: at least 0; without bound gives batch, 0 gives instance normalisation.
        eps: added to the variance.
    """
    if positions < 2:
        return own_mean - mean, var.expand_as(own_mean)
    error = threshold * ((var + eps) / positions).sqrt()
    var_error = threshold * math.sqrt(2 / (positions - 1)) * (var + eps)
    excess = own_var - var
    corrected = var + (excess - excess.clamp(-var_error, var_error))
    return (own_mean - mean).clamp(-error, error), corrected.relu()


class InstanceAwareBatchNorm(EmaBatchNorm):
    """IABN of NOTE (Gong et al., NeurIPS 2022), in place of a batch-norm layer.

    Corrects the running statistics for each image; while it follows, those of the batch, towards
    which it moves the running ones. All variances are unbiased.
    """

    instance_aware = True

    def normalize(self, x: Tensor) -> Tensor:
        count, positions = x.numel() // x.shape[1], position_count(x)

        def coefficients(own: Tensor, squares: Tensor, *affine: Tensor) -> tuple[Tensor, Tensor]:
            if self.follow and count > 1:
                mean, var = self._followed(*_moments_of_all(own, squares, count))
            else:
                mean, var = (per_channel(moment, x) for moment in self.source_moments)
            own_var = squares / max(1, positions - 1)
            off, var = instance_aware_moments(
                own, own_var, mean, var, positions, THRESHOLD, self.eps
            )
            return scale_and_shift(off, var, self.eps, *affine)

        return imagewise_affine(x, coefficients, self.weight, self.bias)

    def _followed(self, mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
        """Move the running statistics to those of a batch, which are returned."""
        for running, moment in zip(self.source_moments, (mean, var), strict=True):
            running.lerp_(moment.detach().flatten(), self.momentum)
        return mean, var


def _moments_of_all(own: Tensor, squares: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return mean and unbiased variance ``[1, C, 1, ...]`` over all images, from each one's own."""
    mean = own.mean(0, keepdim=True)
    between = (own - mean).square().sum(0, keepdim=True) * (count // len(own))
    return mean, (squares.sum(0, keepdim=True) + between) / (count - 1)


def instance_aware_layers(model: nn.Module) -> list[InstanceAwareBatchNorm]:
    """Return the instance-aware layers of a model, none if it was not trained with them."""
    return [layer for layer in model.modules() if isinstance(layer, InstanceAwareBatchNorm)]
