"""Batch normalisation whose statistics mix the source's with the current batch's.

The functional layer behind every method that re-estimates statistics at test time:

    mean = (1 - a) * source_mean + a * batch_mean
    var  = (1 - a) * source_var  + a * batch_var
    y    = weight * (x - mean) / sqrt(var + eps) + bias

with ``a = target_weight``: 0 is the source model, 1 is BN-1 (test-batch statistics alone).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from tta.foundation.errors import UserError
from tta.ops.processes import Processes

_FOLDED_CHANNELS = 8192
_HAVE_KERNEL = ("cpu", "cuda")  # devices; torch's own statistics kernel is nowhere else


def batch_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance per channel of ``x`` ``[B, C, ...]``, as float32 ``[C]``.

    Squares are of distances from the mean, which unlike a plain sum of squares keeps its digits
    when the mean is far from zero. Not differentiable.
    """
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
    folds = _fold_factor(count, channels)
    folded = values.reshape(count // folds, folds * channels)
    means, variances = _kernel_moments(folded)
    between, mean = torch.var_mean(means.view(folds, channels), 0, correction=0)
    return mean, variances.view(folds, channels).mean(0) + between


def _kernel_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    running: tuple[Tensor | None, ...] = (None, None)
    if x.dtype in (torch.float16, torch.bfloat16):
        # The moments have the type of the running buffers, or without those that of x.
        running = x.new_zeros(2, x.shape[1], dtype=torch.float32).unbind()
    return torch.ops.aten.batch_norm_update_stats(x, *running, 0.0)


@lru_cache(maxsize=1024)
def _fold_factor(count: int, channels: int) -> int:
    """Return the largest divisor of ``count`` that leaves the folded row short enough to cache."""
    largest = max(1, min(count, _FOLDED_CHANNELS // channels))
    return next(k for k in range(largest, 0, -1) if count % k == 0)


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
    processes: Processes | None = None,
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
        processes: take the moments over the batches of these processes together.
        constant_moments: let no gradient flow through moments that are mixed with a source's, as
            where they are read from a buffer that a forward pass has filled.

    A batch with one value per channel has no variance: the source statistics stand in for it.
    """
    count, plain = x.numel() // x.shape[1], not (unbiased or constant_moments)
    if source is not None and (target_weight == 0 or count < 2 and processes is None):
        return F.batch_norm(x, *source, weight, bias, False, 0.0, eps)
    if processes is None and (source is None or target_weight == 1 and plain):
        # Not F.batch_norm: it raises on one value per channel, where this gives the shift alone.
        return torch.batch_norm(
            x, weight, bias, None, None, True, 0.0, eps, torch.backends.cudnn.enabled
        )
    weight_of_batch = 1.0 if source is None else target_weight
    mix = _Mix(weight_of_batch, eps, unbiased, between_means, processes, constant_moments)
    return _MixedBatchNorm.apply(x, weight, bias, source, mix)


class _Mix(NamedTuple):
    target_weight: float
    eps: float
    unbiased: bool = False
    between_means: bool = False
    processes: Processes | None = None
    constant: bool = False
    moments: tuple[Tensor, Tensor] | None = None  # of the batch, where they are known already


class _MixedBatchNorm(torch.autograd.Function):
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
        source: tuple[Tensor, Tensor] | None,
        mix: _Mix,
    ) -> Tensor:
        batch, count = mix.moments or batch_moments(x), x.numel() // x.shape[1]
        if mix.processes is not None:
            batch, count = mix.processes.moments(batch, count)
        correction = count / (count - 1) if mix.unbiased else 1.0
        batch_mean, source_mean = batch[0], batch[0] if source is None else source[0]
        mean, var = batch = batch_mean, batch[1] * correction
        if source is not None:
            mean, var = mix_moments(batch, source, mix.target_weight, mix.between_means)
        ctx.save_for_backward(x, weight, batch_mean, source_mean, mean, var)
        ctx.mix, ctx.count, ctx.correction = mix, count, correction
        return F.batch_norm(x, mean, var, weight, bias, False, 0.0, mix.eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, _, _, mean, var = ctx.saved_tensors
        # CUDA wants the statistics saved also in evaluation mode, and has sums for an affine
        # layer alone; the CPU takes its own, and multiplies by one exactly.
        scale = torch.rsqrt(var + ctx.mix.eps)
        ones = torch.ones_like(mean) if weight is None else weight
        dx, dweight, dbias = torch.ops.aten.native_batch_norm_backward(
            gradient, x, ones, mean, var, mean, scale, False, ctx.mix.eps, [True, True, True]
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
    sums = torch.stack([dbias, dweight])
    if mix.processes is not None:
        sums = mix.processes.total(sums)
    dmean, dvar = sums * (scale * weight)
    dvar = dvar * scale / 2
    share = -mix.target_weight / ctx.count
    slope = 2 * share * ctx.correction * dvar
    offset = share * dmean - slope * batch_mean
    if mix.between_means:
        distance = batch_mean - source_mean
        offset = offset + 2 * share * (1 - mix.target_weight) * distance * dvar
    return slope, offset


class AdaptiveBatchNorm(_BatchNorm):
    """Takes the place of a batch-norm layer and owns the same parameters and buffers.

    Where statistics come from is ``target_weight`` alone: ``train()`` and ``eval()`` change
    nothing, and the running buffers keep the source statistics. The activation and drop of
    timm's fused ``BatchNormAct2d`` stay in place, and where ``SyncBatchNorm`` was, the batch is
    that of all processes together.

    Args:
        layer: the layer to replace.
        target_weight: weight of the current batch's statistics, between 0 and 1.
        unbiased: see :func:`mixed_batch_norm`.
        between_means: see :func:`mix_moments`.
        constant_moments: see :func:`mixed_batch_norm`.
    """

    instance_aware: ClassVar[bool] = False
    """Whether statistics are corrected image by image; a source model is trained for it."""

    def __init__(
        self,
        layer: _BatchNorm,
        target_weight: float = 1.0,
        unbiased: bool = False,
        between_means: bool = False,
        constant_moments: bool = False,
    ) -> None:
        super().__init__(
            layer.num_features, layer.eps, layer.momentum, affine=False, track_running_stats=False
        )
        self.weight, self.bias = layer.weight, layer.bias
        self.running_mean, self.running_var = layer.running_mean, layer.running_var
        self.num_batches_tracked = layer.num_batches_tracked
        self.drop = getattr(layer, "drop", nn.Identity())
        self.act = getattr(layer, "act", nn.Identity())
        self.target_weight = target_weight
        self.unbiased = unbiased
        self.between_means = between_means
        self.constant_moments = constant_moments
        self.processes = getattr(layer, "processes", None)
        if isinstance(layer, nn.SyncBatchNorm):
            self.processes = Processes(layer.process_group)
        self.train(layer.training)

    @property
    def source_moments(self) -> tuple[Tensor, Tensor] | None:
        """Mean and variance that the source model was trained with, or None."""
        if self.running_mean is None:
            return None
        return self.running_mean, self.running_var

    def normalize(self, x: Tensor) -> Tensor:
        """Normalise ``x``; the one thing that kinds of statistics differ in."""
        return mixed_batch_norm(
            x,
            self.source_moments,
            self.weight,
            self.bias,
            self.target_weight,
            self.eps,
            self.unbiased,
            self.between_means,
            self.processes if self.processes and self.processes.several else None,
            self.constant_moments,
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.drop(self.normalize(x)))


class EmaBatchNorm(AdaptiveBatchNorm):
    """Normalises with running statistics, or on demand follows the batch with them.

    While ``follow`` is set a forward pass normalises with the batch's statistics and moves the
    running ones towards them by ``momentum``, in place.
    """

    def __init__(self, layer: _BatchNorm, momentum: float = 0.1) -> None:
        super().__init__(layer, target_weight=0.0)
        self.running_mean, self.running_var = layer.running_mean.clone(), layer.running_var.clone()
        self.momentum = momentum
        self.follow = False

    def normalize(self, x: Tensor) -> Tensor:
        has_variance = x.numel() // x.shape[1] > 1
        return F.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.follow and has_variance,
            self.momentum,
            self.eps,
        )


class RobustBatchNorm(EmaBatchNorm):
    """Normalises with running statistics, and while it follows with those it has just moved.

    RobustBN of RoTTA (Yuan et al., CVPR 2023), eq. 1-3: the biased variance enters the running
    one, and gradients flow through the current batch's share of the statistics.
    """

    def normalize(self, x: Tensor) -> Tensor:
        if not self.follow or x.numel() // x.shape[1] < 2:
            return super().normalize(x)
        # A copy, which the backward pass finds unchanged.
        before = tuple(moment.clone() for moment in self.source_moments)
        moments = batch_moments(x.detach())
        mean, var = mix_moments(moments, before, self.momentum)
        self.running_mean.copy_(mean)
        self.running_var.copy_(var)
        mix = _Mix(self.momentum, self.eps, moments=moments)
        return _MixedBatchNorm.apply(x, self.weight, self.bias, before, mix)


@contextlib.contextmanager
def following(layers: Iterable[EmaBatchNorm]) -> Iterator[None]:
    """Let the running statistics of ``layers`` follow the batches of forward passes within."""
    layers = list(layers)
    for layer in layers:
        layer.follow = True
    try:
        yield
    finally:
        for layer in layers:
            layer.follow = False


def batch_norm_layers(model: nn.Module) -> Iterator[tuple[str, _BatchNorm]]:
    """Yield name and module of every batch-norm layer."""
    return ((name, m) for name, m in model.named_modules() if isinstance(m, _BatchNorm))


def replace_batch_norm(
    model: nn.Module, make: Callable[[_BatchNorm], AdaptiveBatchNorm] = AdaptiveBatchNorm
) -> list[AdaptiveBatchNorm]:
    """Replace every batch-norm layer of ``model`` in place and return the new layers.

    A layer that stands in several places stays one layer. Layers made by an earlier call are
    replaced again, so that the last caller decides.

    Raises:
        UserError: a layer is instance-aware and its replacement would not be.
    """
    made: dict[_BatchNorm, AdaptiveBatchNorm] = {}
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):  # named_children skips repetitions
            if isinstance(child, _BatchNorm):
                if child not in made:
                    made[child] = make(child)
                    _check_instance_awareness(child, made[child], name)
                setattr(parent, name, made[child])
    return list(made.values())


def _check_instance_awareness(old: _BatchNorm, new: AdaptiveBatchNorm, name: str) -> None:
    if getattr(old, "instance_aware", False) and not new.instance_aware:
        raise UserError(
            f"batch-norm layer {name!r} is instance-aware, as the source model was trained, and "
            "this method would put other statistics in its place; use --method note or source, or "
            "--weights of a model without such layers"
        )


def require_source_statistics(model: nn.Module) -> None:
    """Refuse a model with a batch-norm layer that keeps no running statistics."""
    for name, layer in batch_norm_layers(model):
        if layer.running_mean is None:
            raise UserError(
                f"batch-norm layer {name!r} keeps no running statistics, so there are no source "
                "statistics to mix with; use a backbone whose layers track them, or --method bn"
            )
