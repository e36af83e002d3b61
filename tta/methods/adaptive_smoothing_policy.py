"""A small function of two models' confidences that says how much of each is mixed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor

from tta.ops.generators import generator_on
from tta.ops.losses import entropy
from tta.source.source_data import SourceData

STEPS = 300
LR = 0.1
"""Of Adam, over all images at once, from zero weights."""
Models = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Gives the log-probabilities ``[B, C]`` of both models on images."""


class Fit(Protocol):
    """What a policy is fitted to.

    Attributes:
        fit_images: source images.
        fit_noise: greatest standard deviation of the noise on their copies.
    """

    fit_images: int
    fit_noise: float


def confidences(standard: Tensor, robust: Tensor) -> Tensor:
    """Return what the policy knows of each image ``[B, 5]``, from log-probabilities ``[B, C]``.

    Of both models the top-1 probability and the entropy as a share of ln C; and 1.
    """
    most = math.log(standard.shape[1])
    known = [
        value
        for log_p in (standard, robust)
        for value in (log_p.amax(1).exp(), entropy(log_p) / most)
    ]
    return torch.stack([*known, torch.ones_like(known[0])], 1)


def fitted_policy(
    models: Models,
    source: SourceData,
    alphas: tuple[float, float],
    params: Fit,
    generator: torch.Generator,
) -> Tensor:
    """Return the weights ``[5]`` under which mixtures make labels of source images most likely.

    The share of the robust model is ``least + (greatest - least) sigmoid(confidences @ weights)``.
    Every image is shown as it is and with Gaussian noise of a strength of its own.

    Args:
        models: frozen.
        source: labelled images.
        alphas: least and greatest share.
        params: how many images, how much noise.
        generator: draws the noise; on the host.
    """
    rows = [
        _seen(models(shown), labels)
        for images, labels in _first(source, params.fit_images)
        for shown in (images, noisy(images, params.fit_noise, generator))
    ]
    return _most_likely(*(torch.cat(parts) for parts in zip(*rows, strict=True)), *alphas)


@torch.enable_grad()
def _most_likely(known: Tensor, of_label: Tensor, least: float, greatest: float) -> Tensor:
    """Return the weights for confidences ``[N, 5]`` and the labels' probabilities ``[N, 2]``."""
    weights = known.new_zeros(known.shape[1], requires_grad=True)
    optimizer = torch.optim.Adam([weights], LR)
    for _ in range(STEPS):
        alpha = least + (greatest - least) * (known @ weights).sigmoid()
        likelihood = torch.lerp(of_label[:, 0], of_label[:, 1], alpha)
        loss = -likelihood.clamp_min(torch.finfo(likelihood.dtype).tiny).log().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return weights.detach()


def _first(source: SourceData, count: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches of one pass until there have been ``count`` images."""
    for images, labels in source.one_pass():
        yield images[:count], labels[:count]
        count -= len(images)
        if count <= 0:
            return


def _seen(log_p: tuple[Tensor, Tensor], labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return confidences ``[B, 5]``, and the labels' probabilities ``[B, 2]`` of both models."""
    of_label = [one.gather(1, labels[:, None]) for one in log_p]
    return confidences(*log_p), torch.cat(of_label, 1).exp()


def noisy(images: Tensor, greatest: float, generator: torch.Generator) -> Tensor:
    """Return images in [0, 1] under Gaussian noise, each of a strength from 0 to ``greatest``."""
    draws = generator_on(images.device, generator)
    shape = (len(images), 1, 1, 1)
    strength = greatest * torch.rand(shape, generator=draws, device=images.device)
    noise = torch.randn(images.shape, generator=draws, device=images.device)
    return (images + strength * noise).clamp(0, 1)
