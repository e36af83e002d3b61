"""Un-mixed normalisation: each image by its share in several components of the statistics."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from tta.ops.norm.batch_norm import EmaBatchNorm
from tta.ops.norm.imagewise import (
    imagewise_affine,
    per_channel,
    position_count,
    scale_and_shift,
)

TEMPERATURE = 0.07
"""Of the softmax over cosines that an image's shares are."""


class Unmixing(NamedTuple):
    """How the components of a layer start and follow.

    Attributes:
        spread: alpha, share of the source variance that lies between the components at the start.
        momentum: step of the components to a whole batch, between 0 and 1.
        whole_batch: images in such a batch; ``1 - (1 - momentum)^(B / whole_batch)`` for B.
        between_means: see :func:`unmixed_moments`.
    """

    spread: float = 0.5
    momentum: float = 0.1
    whole_batch: int = 64
    between_means: bool = False


def component_shares(own_mean: Tensor, means: Tensor) -> Tensor:
    """Return how much each image ``[B, C]`` is of each component ``[K, C]``: ``[B, K]``, sums 1."""
    cosines = F.normalize(own_mean, dim=1) @ F.normalize(means, dim=1).T
    return (cosines / TEMPERATURE).softmax(1)


def unmixed_moments(
    own_mean: Tensor,
    own_var: Tensor,
    components: tuple[Tensor, Tensor],
    shares: Tensor,
    between_means: bool,
) -> tuple[Tensor, Tensor]:
    """Return mean and variance ``[B, C]`` by which each image is normalised.

    With p its share in a component, the image moves that by p towards itself, for its own use:
    ``(1 - p) component + p image`` of means and of variances. It is normalised by the mean and
    variance of the mixture of all K, equally weighted. UnMix-TNS (Tomar et al., ICLR 2024).

    Args:
        own_mean: of each image and channel ``[B, C]``.
        own_var: biased ``[B, C]``.
        components: means and variances ``[K, C]``.
        shares: ``[B, K]``.
        between_means: let a moved variance be that of a mixture, too, and add
            ``p (1 - p) (image mean - component mean)^2``.
    """
    means, variances = components
    count, kept = len(means), 1 - shares
    centre = means.mean(0)
    off, offs = own_mean - centre, means - centre  # distances keep their digits when squared
    mean = (off + kept @ offs) / count
    if between_means:
        squares = off.square() + kept @ offs.square()
    else:
        crossed = 2 * (shares * kept) @ offs
        squares = shares.square().sum(1, keepdim=True) * off.square() + crossed * off
        squares = squares + kept.square() @ offs.square()
    between = (squares / count - mean.square()).clamp_min(0)
    return centre + mean, (own_var + kept @ variances) / count + between


class UnmixedBatchNorm(EmaBatchNorm):
    """Normalises each image by K components of the statistics; while it follows, moves them.

    Components start about the source's mean, with its variance in all. They move towards the
    images by these' shares in them; images that hold no numbers move nothing. Activations without
    positions, ``[B, C]``, are normalised by the source's statistics.

    Args:
        layer: the layer to replace.
        noise: standard normal ``[K, C]``; what makes one component unlike another.
        unmixing: see there.
    """

    def __init__(self, layer: _BatchNorm, noise: Tensor, unmixing: Unmixing) -> None:
        super().__init__(layer)
        self.unmixing, count = unmixing, len(noise)
        spread = unmixing.spread if count > 1 else 0.0
        mean, var = (moment.detach().float() for moment in self.source_moments)
        width = math.sqrt(spread * count / max(1, count - 1))
        means = mean + width * var.sqrt() * noise.to(mean.device)
        self.register_buffer("means", means, persistent=False)
        self.register_buffer("variances", ((1 - spread) * var).repeat(count, 1), persistent=False)

    @property
    def components(self) -> tuple[Tensor, Tensor]:
        """Means and variances ``[K, C]``, the tensors themselves."""
        return self.means, self.variances

    def normalize(self, x: Tensor) -> Tensor:
        if x.dim() < 3:
            source, affine = self.source_moments, (self.weight, self.bias)
            return F.batch_norm(x, *source, *affine, False, 0.0, self.eps)

        def coefficients(own: Tensor, squares: Tensor, *affine: Tensor) -> tuple[Tensor, Tensor]:
            moments = own.flatten(1), squares.flatten(1) / position_count(x)
            mean, var = (per_channel(moment, own) for moment in self._unmixed(*moments))
            return scale_and_shift(own - mean, var, self.eps, *affine)

        return imagewise_affine(x, coefficients, self.weight, self.bias)

    def _unmixed(self, own_mean: Tensor, own_var: Tensor) -> tuple[Tensor, Tensor]:
        # Copies where they move, which the backward pass finds unchanged.
        before = tuple(t.clone() if self.follow else t for t in self.components)
        shares = component_shares(own_mean.detach(), before[0])
        if self.follow:
            self._move((own_mean.detach(), own_var.detach()), shares)
        return unmixed_moments(own_mean, own_var, before, shares, self.unmixing.between_means)

    @torch.no_grad()
    def _move(self, moments: tuple[Tensor, Tensor], shares: Tensor) -> None:
        finite = (moments[0] + moments[1]).isfinite().all(1, keepdim=True)
        shares = torch.where(finite, shares, 0)
        total = shares.sum(0)[:, None]
        part = len(shares) / self.unmixing.whole_batch
        step = (1 - (1 - self.unmixing.momentum) ** part) / len(shares)
        for component, moment in zip(self.components, moments, strict=True):
            towards = shares.T @ torch.where(finite, moment, 0)
            component.add_(towards - total * component, alpha=step)
