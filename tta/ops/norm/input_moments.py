"""Moments of what goes into batch-norm layers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from tta.ops.norm.batch_norm import batch_norm_layers
from tta.ops.norm.mixed_batch_norm import batch_moments


@contextlib.contextmanager
def measured_inputs(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Note mean and biased variance ``[2, C]`` of each layer's input, by the layer's name.

    Of a forward pass within, the latest; layers without running statistics are passed over.
    """
    found: dict[str, Tensor] = {}
    hooks = [
        layer.register_forward_pre_hook(_Noter(found, name))
        for name, layer in batch_norm_layers(model)
        if layer.running_mean is not None
    ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


class _Noter:
    """A hook that puts moments under a layer's name."""

    def __init__(self, found: dict[str, Tensor], name: str) -> None:
        self.found, self.name = found, name

    def __call__(self, layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        self.found[self.name] = torch.stack(batch_moments(given[0].detach())).float()


def moments_apart(found: Tensor, known: Tensor, scale: Tensor) -> Tensor:
    """Return how far moments are from each of several others, ``[K]``.

    The squared 2-Wasserstein distance between normal distributions of those means and variances,
    divided by a variance, mean over channels.

    Args:
        found: mean and variance ``[2, C]``.
        known: of the others, ``[K, 2, C]``.
        scale: variance ``[C]`` that distances are divided by.
    """
    means = (known[:, 0] - found[0]).square()
    spreads = (known[:, 1].clamp_min(0).sqrt() - found[1].clamp_min(0).sqrt()).square()
    return ((means + spreads) / scale).mean(1)
