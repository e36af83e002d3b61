"""Normalisation whose scale and shift follow from the statistics of single images."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Coefficients = Callable[..., tuple[Tensor, Tensor]]


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
        mean = _sum(x, dims) / position_count(x)
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
            offset = (dmean - scale * total) / position_count(centred)
            dx = torch.addcmul(offset, centred, 2 * dsquares, out=products)
            dx.addcmul_(gradient, scale)
        return dx, None, *rest


def imagewise_affine(x: Tensor, coefficients: Coefficients, *small: Tensor | None) -> Tensor:
    """Return what :class:`ImagewiseAffine` does, in the type of ``x``.

    Moments are float32 whatever that is: fewer digits would lose or overflow them.

    Args:
        x: activations ``[B, C, ...]``.
        coefficients: called with means and sums of squares ``[B, C, 1, ...]``, and with ``small``.
        small: further tensors that gradients flow to, or None.
    """
    normalise = _plain_affine if torch.compiler.is_compiling() else ImagewiseAffine.apply
    with _all_digits(x.device):
        return normalise(x.float(), coefficients, *small).to(x.dtype)


def scale_and_shift(
    off: Tensor, var: Tensor, eps: float, weight: Tensor | None, bias: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the coefficients that normalise with a mean and variance per image and channel.

    Args:
        off: an image's own mean, less that to normalise with ``[B, C, 1, ...]``.
        var: to normalise with, of the same shape.
        eps: added to the variance.
        weight: affine scale ``[C]`` or None.
        bias: affine shift ``[C]`` or None.
    """
    scale = torch.rsqrt(var + eps)
    scale = scale if weight is None else scale * per_channel(weight, off)
    shift = off * scale
    return scale, shift if bias is None else shift + per_channel(bias, off)


def per_channel(values: Tensor, like: Tensor) -> Tensor:
    """Return values of channels, ``[C]`` or ``[B, C]``, shaped to meet ``[B, C, 1, ...]``."""
    return values.view(-1, values.shape[-1], *[1] * (like.dim() - 2))


def position_count(x: Tensor) -> int:
    """Return over how many positions an image's statistics are taken: the L of ``[B, C, L]``."""
    return x.shape[2:].numel()


def _all_digits(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Keep autocast from products of moments."""
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return contextlib.nullcontext()


def _plain_affine(x: Tensor, coefficients: Coefficients, *small: Tensor | None) -> Tensor:
    """Return what :class:`ImagewiseAffine` does, in operations that a compiler fuses."""
    dims = list(range(2, x.dim()))
    mean = _sum(x, dims) / position_count(x)
    centred = x - mean
    scale, shift = coefficients(mean, _sum(centred.square(), dims), *small)
    return centred * scale + shift


def _sum(x: Tensor, dims: list[int]) -> Tensor:
    return x.sum(dims, keepdim=True) if dims else x
