"""Balanced batch normalisation: statistics by class, of which every class is an equal part."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from tta.ops.norm.batch_norm import AdaptiveBatchNorm
from tta.ops.norm.imagewise import (
    imagewise_affine,
    per_channel,
    position_count,
    scale_and_shift,
)


class Members(NamedTuple):
    """Which images of a batch are of which class.

    Attributes:
        labels: ``[B]``.
        one_hot: ``[B, K]``, 1 where an image counts for a class.
        counts: images per class ``[K, 1]``.
    """

    labels: Tensor
    one_hot: Tensor
    counts: Tensor


def members_of(labels: Tensor, counted: Tensor, num_classes: int) -> Members:
    """Return the members of each class: images with its label ``[B]`` that are counted ``[B]``."""
    classes = torch.arange(num_classes, device=labels.device)
    one_hot = ((labels[:, None] == classes) & counted[:, None]).float()
    return Members(labels, one_hot, one_hot.sum(0)[:, None])


def balanced_update(
    own_mean: Tensor,
    own_var: Tensor,
    members: Members,
    classes: tuple[Tensor, Tensor],
    momentum: float,
    shared: float,
) -> tuple[Tensor, Tensor]:
    """Return means and variances ``[K, C]`` of classes that have moved towards a batch.

    A class moves by ``momentum`` for each of its images, and onto their mean where they are more
    than ``1 / momentum``. All classes, those that are absent too, make the share ``shared`` of the
    mean move of those that are there. TRIBE (Su et al., AAAI 2024). Gradients flow to the images'
    statistics.

    Args:
        own_mean: of each image and channel ``[B, C]``.
        own_var: biased ``[B, C]``.
        members: of classes; an image that does not count may hold NaN.
        classes: means and variances ``[K, C]`` as they are.
        momentum: eta.
        shared: gamma, between 0 and 1.
    """
    means, variances = classes
    counts, counted = members.counts, members.one_hot.sum(1, keepdim=True) > 0
    weights = torch.where(counts > 1 / momentum, 1 / counts.clamp_min(1), momentum)
    distance = torch.where(counted, own_mean - means[members.labels], 0)
    squares = torch.where(counted, own_var, 0) + distance.square()
    moves = weights * (members.one_hot.T @ distance)
    spreads = weights * (members.one_hot.T @ squares) - moves.square()
    kept = weights * counts
    means = means + (1 - shared) * moves
    variances = variances + (1 - shared) * (spreads - kept * variances)
    if shared > 0:
        present = (counts > 0).sum().clamp_min(1)
        means = means + shared * moves.sum(0) / present
        gap = spreads.sum(0) - kept.sum() * variances
        variances = variances + shared * gap / present
    return means, variances


def balanced_moments(means: Tensor, variances: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance ``[C]`` of equally many images of each class, from theirs."""
    between = means.var(0, correction=min(1, len(means) - 1))
    return means.mean(0), variances.mean(0) + between


class BalancedBatchNorm(AdaptiveBatchNorm):
    """BBN of TRIBE: normalises by statistics to which all classes contribute alike.

    While it is told the classes of a batch (:func:`telling`), it moves their statistics before it
    normalises; gradients then flow through the batch's part. The statistics start at the source's.

    Args:
        layer: the layer to replace.
        num_classes: K.
        momentum: eta, see :func:`balanced_update`.
        shared: gamma, see there.
    """

    def __init__(self, layer: _BatchNorm, num_classes: int, momentum: float, shared: float) -> None:
        super().__init__(layer, target_weight=0.0)
        self.running_mean, self.running_var = layer.running_mean.clone(), layer.running_var.clone()
        self.class_momentum, self.shared = momentum, shared
        for name, moment in zip(("means", "variances"), self.source_moments, strict=True):
            per_class = moment.detach().float().repeat(num_classes, 1)
            self.register_buffer(name, per_class, persistent=False)
        self.members: Members | None = None

    @property
    def moves_statistics(self) -> bool:
        return self.members is not None

    @property
    def statistics(self) -> list[Tensor]:
        """What moves: of classes ``[K, C]`` and of all ``[C]``, the tensors themselves."""
        return [self.means, self.variances, self.running_mean, self.running_var]

    def normalize(self, x: Tensor) -> Tensor:
        if self.members is None:
            return super().normalize(x)

        def coefficients(own: Tensor, squares: Tensor, *affine: Tensor) -> tuple[Tensor, Tensor]:
            mean, var = self._moved(own.flatten(1), squares.flatten(1) / position_count(x))
            off = own - per_channel(mean, own)
            return scale_and_shift(off, per_channel(var, own).expand_as(own), self.eps, *affine)

        return imagewise_affine(x, coefficients, self.weight, self.bias)

    def _moved(self, own_mean: Tensor, own_var: Tensor) -> tuple[Tensor, Tensor]:
        """Move the statistics to a batch and return those of all classes, with gradients."""
        before = self.means.clone(), self.variances.clone()
        classes = balanced_update(
            own_mean, own_var, self.members, before, self.class_momentum, self.shared
        )
        moments = balanced_moments(*classes)
        with torch.no_grad():
            for kept, moved in zip(self.statistics, (*classes, *moments), strict=True):
                kept.copy_(moved)
        return moments


@contextlib.contextmanager
def telling(layers: Iterable[BalancedBatchNorm], members: Members) -> Iterator[None]:
    """Let the statistics of ``layers`` move to the batches, of these classes, that pass within."""
    layers = list(layers)
    for layer in layers:
        layer.members = members
    try:
        yield
    finally:
        for layer in layers:
            layer.members = None


def balanced_layers(*models: torch.nn.Module) -> list[BalancedBatchNorm]:
    """Return the balanced layers of some models."""
    modules = (module for model in models for module in model.modules())
    return [module for module in modules if isinstance(module, BalancedBatchNorm)]
