"""Layers that take the place of batch norm, by where their statistics come from."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tta.foundation.errors import UserError
from tta.ops.norm.fusible import fusible_batch_norm
from tta.ops.norm.mixed_batch_norm import (
    Mix,
    MixedBatchNorm,
    batch_moments,
    mix_moments,
    mixed_batch_norm,
)


class AdaptiveBatchNorm(_BatchNorm):
    """Takes the place of a batch-norm layer and owns the same parameters and buffers.

    Where statistics come from is ``target_weight`` alone: ``train()`` and ``eval()`` change
    nothing, and the running buffers keep the source statistics. The activation and drop of
    timm's fused ``BatchNormAct2d`` stay in place; ``SyncBatchNorm`` is as any other layer, as a
    stream is adapted to in one process.

    Args:
        layer: the layer to replace.
        target_weight: weight of the current batch's statistics, between 0 and 1.
        unbiased: see :func:`~tta.ops.norm.mixed_batch_norm.mixed_batch_norm`.
        between_means: see :func:`~tta.ops.norm.mixed_batch_norm.mix_moments`.
        constant_moments: see :func:`~tta.ops.norm.mixed_batch_norm.mixed_batch_norm`.
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
        self.train(layer.training)

    @property
    def moves_statistics(self) -> bool:
        """Whether a forward pass changes statistics that the layer keeps."""
        return False

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

    @property
    def moves_statistics(self) -> bool:
        return self.follow

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
        if torch.compiler.is_compiling():  # without gradients, see Backbone.features
            return fusible_batch_norm(x, (mean, var), self.weight, self.bias, self.eps)
        mix = Mix(self.momentum, self.eps, moments=moments)
        return MixedBatchNorm.apply(x, self.weight, self.bias, before, mix)


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


@contextlib.contextmanager
def source_statistics(layers: Iterable[AdaptiveBatchNorm]) -> Iterator[None]:
    """Let ``layers``, which normalise with the batch's statistics, use the source's within."""
    layers = list(layers)
    weights = [layer.target_weight for layer in layers]
    for layer in layers:
        layer.target_weight = 0.0
    try:
        yield
    finally:
        for layer, weight in zip(layers, weights, strict=True):
            layer.target_weight = weight


def moves_statistics(model: nn.Module) -> bool:
    """Return whether a forward pass of ``model`` changes statistics that a layer keeps."""
    return any(isinstance(m, AdaptiveBatchNorm) and m.moves_statistics for m in model.modules())


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
