"""Batch normalisation whose statistics mix the source's with the current batch's.

The function behind every method that re-estimates statistics at test time:

    mean = (1 - a) * source_mean + a * batch_mean
    var  = (1 - a) * source_var  + a * batch_var
    y    = weight * (x - mean) / sqrt(var + eps) + bias

with ``a = target_weight``: 0 is the source model, 1 is BN-1 (test-batch statistics alone). Its
layer is :class:`tta.ops.norm.batch_norm.AdaptiveBatchNorm`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from tta.ops.norm.fusible import fusible_batch_norm, fusible_moments

_FOLDED_CHANNELS = 8192
_FEW_IMAGES, _SUMMED_VALUES = 8, 256
"""Of so few images many maps are small, and folding would cost more than the sums; so many values
of a channel one sum adds up without losing digits that matter."""
_HAVE_KERNEL = ("cpu", "cuda")  # devices; torch's own statistics kernel is nowhere else


def batch_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance per channel of ``x`` ``[B, C, ...]``, as float32 ``[C]``.

    Squares are of distances from the mean, which unlike a plain sum of squares keeps its digits
    when the mean is far from zero. Not differentiable.
    """
    if torch.compiler.is_compiling():
        return fusible_moments(x.detach())
    if x.device.type not in _HAVE_KERNEL:
        dims = [dim for dim in range(x.dim()) if dim != 1]
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        return torch.var_mean(wide, dims, correction=0)[::-1]
    values = x.movedim(1, -1)
    if x.device.type != "cpu" or not values.is_contiguous():
        return _kernel_moments(x)
    # The CPU kernel adds up a channels-last array value by value, which in float32 loses digits
    # in proportion to its length. Taking k neighbours for k channels shortens the sums k times,
    # and fills the vector units where channels are few.
    channels = x.shape[1]
    count = x.numel() // channels
    folds = _fold_factor(count, channels, len(x) <= _FEW_IMAGES)
    if folds == 1:
        return _kernel_moments(x)
    folded = values.reshape(count // folds, folds * channels)
    means, variances = (part.view(folds, channels) for part in _kernel_moments(folded))
    if len(x) > 1:
        between, mean = torch.var_mean(means, 0, correction=0)
        return mean, variances.mean(0) + between
    # Of a single image var_mean takes longer than all sums over its values do.
    mean = means.mean(0)
    return mean, variances.add_((means - mean).square_()).mean(0)


def _kernel_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    running: tuple[Tensor | None, ...] = (None, None)
    if x.dtype in (torch.float16, torch.bfloat16):
        # The moments have the type of the running buffers, or without those that of x.
        running = x.new_zeros(2, x.shape[1], dtype=torch.float32).unbind()
    return torch.batch_norm_update_stats(x, *running, 0.0)


@lru_cache(maxsize=1024)
def _fold_factor(count: int, channels: int, few_images: bool) -> int:
    """Return the largest divisor of ``count`` that leaves the folded row short enough to cache.

    Of few images the smallest one by which sums are short is enough.
    """
    largest = max(1, min(count, _FOLDED_CHANNELS // channels))
    factors = [k for k in range(1, largest + 1) if count % k == 0]
    short = (k for k in factors if few_images and count // k <= _SUMMED_VALUES)
    return next(short, factors[-1])


def mix_moments(
    batch: tuple[Tensor, Tensor],
    source: tuple[Tensor, Tensor],
    target_weight: float,
    between_means: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return ``(1 - a) * source + a * batch`` for mean and variance.

    ``between_means`` adds ``a (1 - a) (batch_mean - source_mean)^2`` to the variance, which is
    then that of the two distributions' mixture, as in TTN (Lim et al., ICLR 2023).
    """
    mean = source[0].lerp(batch[0], target_weight)
    var = source[1].lerp(batch[1], target_weight)
    if between_means:
        var = var + target_weight * (1 - target_weight) * (batch[0] - source[0]).square()
    return mean, var


def mixed_batch_norm(
    x: Tensor,
    source: tuple[Tensor, Tensor] | None,
    weight: Tensor | None,
    bias: Tensor | None,
    target_weight: float,
    eps: float,
    unbiased: bool = False,
    between_means: bool = False,
    constant_moments: bool = False,
) -> Tensor:
    """Normalise ``x`` ``[B, C, ...]`` with mixed statistics; gradients flow through the batch's.

    Args:
        x: activations.
        source: source mean and variance ``[C]``; None where the layer keeps none.
        weight: affine scale ``[C]`` or None.
        bias: affine shift ``[C]`` or None.
        target_weight: weight of the batch statistics, between 0 and 1.
        eps: added to the variance.
        unbiased: divide the batch variance by n - 1, as toolboxes do that read it from a
            running buffer. The default, n, makes ``target_weight=1`` equal BN-1 exactly.
        between_means: see :func:`mix_moments`.
        constant_moments: let no gradient flow through moments that are mixed with a source's, as
            where they are read from a buffer that a forward pass has filled.

    A batch with one value per channel has no variance: the source statistics stand in for it.
    """
    count, plain = x.numel() // x.shape[1], not (unbiased or constant_moments)
    if source is not None and (target_weight == 0 or count < 2):
        return F.batch_norm(x, *source, weight, bias, False, 0.0, eps)
    mix = Mix(target_weight, eps, unbiased, between_means, constant_moments)
    if torch.compiler.is_compiling():
        return _fusible(x, source, weight, bias, mix)
    if source is None or target_weight == 1 and plain:
        # Not F.batch_norm: it raises on one value per channel, where this gives the shift alone.
        return torch.batch_norm(
            x, weight, bias, None, None, True, 0.0, eps, torch.backends.cudnn.enabled
        )
    if not torch.is_grad_enabled():  # of a small map that function is half of the time
        mean, var = mixed_moments(batch_moments(x), source, mix, count)
        return F.batch_norm(x, mean, var, weight, bias, False, 0.0, eps)
    return MixedBatchNorm.apply(x, weight, bias, source, mix)


class Mix(NamedTuple):
    """What moments are mixed with, and how; see :func:`mixed_batch_norm`."""

    target_weight: float
    eps: float
    unbiased: bool = False
    between_means: bool = False
    constant: bool = False
    moments: tuple[Tensor, Tensor] | None = None  # of the batch, where they are known already


def mixed_moments(
    moments: tuple[Tensor, Tensor], source: tuple[Tensor, Tensor] | None, mix: Mix, count: int
) -> tuple[Tensor, Tensor]:
    """Return the moments of a batch of ``count`` values per channel, mixed with the source's."""
    mean, var = moments
    if source is None:
        return moments
    var = var * (count / (count - 1)) if mix.unbiased else var
    return mix_moments((mean, var), source, mix.target_weight, mix.between_means)


def _fusible(
    x: Tensor,
    source: tuple[Tensor, Tensor] | None,
    weight: Tensor | None,
    bias: Tensor | None,
    mix: Mix,
) -> Tensor:
    moments = fusible_moments(x.detach() if mix.constant else x)
    moments = mixed_moments(moments, source, mix, x.numel() // x.shape[1])
    return fusible_batch_norm(x, moments, weight, bias, mix.eps)


class MixedBatchNorm(torch.autograd.Function):
    """One pass for the moments, one to normalise; and a gradient through both, or the second.

    With g the gradient at the output, r = 1 / sqrt(var + eps) of the mixed moments, b the batch
    and n its values per channel, the sums that the evaluation-mode backward makes, sum g and
    sum g (x - mean) r, are all that the gradients to the moments need:

        dL/dmean = -weight r sum g,    dL/dvar = -weight r^2 / 2 sum g (x - mean) r
        dL/dx    = weight r g + a/n dL/dmean + 2a/n dL/dvar (x - b_mean) * correction
                   (+ 2a (1 - a)/n (b_mean - source_mean) dL/dvar with ``between_means``)
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        source: tuple[Tensor, Tensor],
        mix: Mix,
    ) -> Tensor:
        moments, count = mix.moments or batch_moments(x), x.numel() // x.shape[1]
        mean, var = mixed_moments(moments, source, mix, count)
        ctx.save_for_backward(x, weight, moments[0], source[0], mean, var)
        ctx.mix, ctx.count = mix, count
        ctx.correction = count / (count - 1) if mix.unbiased else 1.0
        return F.batch_norm(x, mean, var, weight, bias, False, 0.0, mix.eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, _, _, mean, var = ctx.saved_tensors
        # CUDA wants the statistics saved also in evaluation mode, and has sums for an affine
        # layer alone; the CPU takes its own, and multiplies by one exactly.
        scale = torch.rsqrt(var + ctx.mix.eps)
        outputs = [ctx.needs_input_grad[0], True, True]
        ones = torch.ones_like(mean) if weight is None else weight
        dx, dweight, dbias = torch.ops.aten.native_batch_norm_backward(
            gradient, x, ones, mean, var, mean, scale, False, ctx.mix.eps, outputs
        )
        if ctx.needs_input_grad[0] and not ctx.mix.constant:
            slope, offset = _through_the_moments(ctx, dweight, dbias, ones, scale)
            shape = [1, -1] + [1] * (x.dim() - 2)
            dx.addcmul_(x, slope.view(shape).to(x.dtype)).add_(offset.view(shape))
        wanted = zip((dx, dweight, dbias), ctx.needs_input_grad, strict=False)
        return *(value if needed else None for value, needed in wanted), None, None


def _through_the_moments(
    ctx: Any, dweight: Tensor, dbias: Tensor, weight: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor]:
    """Return slope and offset ``[C]`` of the part of dL/dx that goes through the moments."""
    _, _, batch_mean, source_mean, _, _ = ctx.saved_tensors
    mix = ctx.mix
    dmean, dvar = torch.stack([dbias, dweight]) * (scale * weight)
    dvar = dvar * scale / 2
    share = -mix.target_weight / ctx.count
    slope = 2 * share * ctx.correction * dvar
    offset = share * dmean - slope * batch_mean
    if mix.between_means:
        distance = batch_mean - source_mean
        offset = offset + 2 * share * (1 - mix.target_weight) * distance * dvar
    return slope, offset
