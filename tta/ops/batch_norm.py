"""Batch normalisation whose statistics mix the source's with the current batch's.

The functional layer behind every method that re-estimates statistics at test time:

    mean = (1 - a) * source_mean + a * batch_mean
    var  = (1 - a) * source_var  + a * batch_var
    y    = weight * (x - mean) / sqrt(var + eps) + bias

with ``a = target_weight``: 0 is the source model, 1 is BN-1 (test-batch statistics alone).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tta.errors import UserError


def at_least_float32(x: Tensor) -> Tensor:
    """Return ``x`` in a type that statistics can be computed in."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def batch_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance per channel of ``x`` ``[B, C, ...]``, as float32 ``[C]``.

    One pass over the activations (Welford), which unlike a sum of squares keeps its digits when
    the mean is far from zero. Not differentiable.
    """
    return torch.ops.aten.batch_norm_update_stats(x, None, None, 0.0)


def differentiable_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return what :func:`batch_moments` returns, with gradients to ``x``."""
    reduced = [dim for dim in range(x.dim()) if dim != 1]
    var, mean = torch.var_mean(at_least_float32(x), reduced, correction=0)
    return mean, var


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

    A batch with one value per channel has no variance: the source statistics stand in for it.
    """
    count = x.numel() // x.shape[1]
    if source is not None and (target_weight == 0 or count < 2):
        return F.batch_norm(x, *source, weight, bias, False, 0.0, eps)
    if source is None or (target_weight == 1 and not unbiased):
        # Not F.batch_norm: it raises on one value per channel, where this gives the shift alone.
        return torch.batch_norm(
            x, weight, bias, None, None, True, 0.0, eps, torch.backends.cudnn.enabled
        )
    needs_gradient = torch.is_grad_enabled() and x.requires_grad
    mean, var = differentiable_moments(x) if needs_gradient else batch_moments(x)
    if unbiased:
        var = var * (count / (count - 1))
    mean, var = mix_moments((mean, var), source, target_weight, between_means)
    if not needs_gradient:
        return F.batch_norm(x, mean, var, weight, bias, False, 0.0, eps)
    return _normalize(x, mean, var, weight, bias, eps)


def _normalize(
    x: Tensor,
    mean: Tensor,
    var: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> Tensor:
    """Normalise where F.batch_norm cannot: it has no gradient to given statistics."""
    scale = torch.rsqrt(var + eps) * (1.0 if weight is None else weight)
    shift = (0.0 if bias is None else bias) - mean * scale
    shape = [1, -1] + [1] * (x.dim() - 2)
    return (x * scale.view(shape) + shift.view(shape)).to(x.dtype)


class AdaptiveBatchNorm(_BatchNorm):
    """Takes the place of a batch-norm layer and owns the same parameters and buffers.

    Where statistics come from is ``target_weight`` alone: ``train()`` and ``eval()`` change
    nothing, and the running buffers keep the source statistics. The activation and drop of
    timm's fused ``BatchNormAct2d`` stay in place.

    Args:
        layer: the layer to replace.
        target_weight: weight of the current batch's statistics, between 0 and 1.
        unbiased: see :func:`mixed_batch_norm`.
        between_means: see :func:`mix_moments`.
    """

    def __init__(
        self,
        layer: _BatchNorm,
        target_weight: float = 1.0,
        unbiased: bool = False,
        between_means: bool = False,
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


def batch_norm_layers(model: nn.Module) -> Iterator[tuple[str, _BatchNorm]]:
    """Yield name and module of every batch-norm layer."""
    return ((name, m) for name, m in model.named_modules() if isinstance(m, _BatchNorm))


def replace_batch_norm(
    model: nn.Module, make: Callable[[_BatchNorm], AdaptiveBatchNorm] = AdaptiveBatchNorm
) -> list[AdaptiveBatchNorm]:
    """Replace every batch-norm layer of ``model`` in place and return the new layers.

    A layer that stands in several places stays one layer. Layers made by an earlier call are
    replaced again, so that the last caller decides.
    """
    made: dict[_BatchNorm, AdaptiveBatchNorm] = {}
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):  # named_children skips repetitions
            if isinstance(child, _BatchNorm):
                if child not in made:
                    made[child] = make(child)
                setattr(parent, name, made[child])
    return list(made.values())


def require_source_statistics(model: nn.Module) -> None:
    """Refuse a model with a batch-norm layer that keeps no running statistics."""
    for name, layer in batch_norm_layers(model):
        if layer.running_mean is None:
            raise UserError(
                f"batch-norm layer {name!r} keeps no running statistics, so there are no source "
                "statistics to mix with; use a backbone whose layers track them, or --method bn"
            )
