"""Instance-aware batch normalisation: running statistics, corrected per image where they fail."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from tta.ops.norm.batch_norm import EmaBatchNorm

THRESHOLD = 4.0
"""k of NOTE: standard errors by which an image's statistics must differ to count."""

Coefficients = Callable[..., tuple[Tensor, Tensor]]


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


class ImagewiseAffine(torch.autograd.Function):
    """``(x - mean) * scale + shift``, all three per image and channel, in few passes over x.

    Scale and shift ``[B, C, 1, ...]`` are what ``coefficients`` makes of the means, of the sums
    of squares about them, and of further small tensors; autograd goes through it. With t for
    ``x - mean``, L positions and g the gradient at the output, the activations enter as the sums
    of g and g t alone, and

        dL/dx = scale g + 2 dL/dsquares t + (dL/dmean - scale sum g) / L
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, coefficients: Coefficients, *small: Tensor | None) -> Tensor:
        dims = list(range(2, x.dim()))
        mean = _sum(x, dims) / _positions(x)
        centred = x - mean
        products = centred * centred
        leaves = [mean, _sum(products, dims), *small]
        wanted = any(ctx.needs_input_grad)
        leaves = [t if t is None else t.detach().requires_grad_(wanted) for t in leaves]
        with torch.set_grad_enabled(wanted):
            scale, shift = coefficients(*leaves)
        if wanted:
            ctx.save_for_backward(centred)
            ctx.leaves, ctx.scale, ctx.shift, ctx.dims = leaves, scale, shift, dims
        return torch.addcmul(shift.detach(), centred, scale.detach(), out=products)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (centred,), scale = ctx.saved_tensors, ctx.scale.detach()
        products = gradient * centred
        total, dscale = _sum(gradient, ctx.dims), _sum(products, ctx.dims)
        leaves = [leaf for leaf in ctx.leaves if leaf is not None]
        outputs = ctx.scale, ctx.shift
        found = iter(
            torch.autograd.grad(outputs, leaves, (dscale, total), True, materialize_grads=True)
        )
        dmean, dsquares, *rest = (t if t is None else next(found) for t in ctx.leaves)
        dx = None
        if ctx.needs_input_grad[0]:
            offset = (dmean - scale * total) / _positions(centred)
            dx = torch.addcmul(offset, centred, 2 * dsquares, out=products)
            dx.addcmul_(gradient, scale)
        return dx, None, *rest


def _plain_affine(x: Tensor, coefficients: Coefficients, *small: Tensor | None) -> Tensor:
    """Return what :class:`ImagewiseAffine` does, in operations that a compiler fuses."""
    dims = list(range(2, x.dim()))
    mean = _sum(x, dims) / _positions(x)
    centred = x - mean
    scale, shift = coefficients(mean, _sum(centred.square(), dims), *small)
    return centred * scale + shift


def _sum(x: Tensor, dims: list[int]) -> Tensor:
    return x.sum(dims, keepdim=True) if dims else x


def _positions(x: Tensor) -> int:
    return x.shape[2:].numel()


class InstanceAwareBatchNorm(EmaBatchNorm):
    """IABN of NOTE (Gong et al., NeurIPS 2022), in place of a batch-norm layer.

    Corrects the running statistics for each image; while it follows, those of the batch, towards
    which it moves the running ones. All variances are unbiased. Moments are float32 whatever the
    type of activations: fewer digits would lose or overflow them.
    """

    instance_aware = True

    def normalize(self, x: Tensor) -> Tensor:
        count, positions = x.numel() // x.shape[1], _positions(x)

        def coefficients(own: Tensor, squares: Tensor, *affine: Tensor) -> tuple[Tensor, Tensor]:
            shape = [1, -1] + [1] * (x.dim() - 2)
            weight, bias = (None if t is None else t.view(shape) for t in affine)
            if self.follow and count > 1:
                mean, var = self._followed(*_moments_of_all(own, squares, count))
            else:
                mean, var = (moment.view(shape) for moment in self.source_moments)
            own_var = squares / max(1, positions - 1)
            off, var = instance_aware_moments(
                own, own_var, mean, var, positions, THRESHOLD, self.eps
            )
            scale = torch.rsqrt(var + self.eps)
            scale = scale if weight is None else scale * weight
            shift = off * scale
            return scale, shift if bias is None else shift + bias

        compiling = torch.compiler.is_compiling()
        normalise = _plain_affine if compiling else ImagewiseAffine.apply
        normal = normalise(x.float(), coefficients, self.weight, self.bias)
        return normal.to(x.dtype)

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
