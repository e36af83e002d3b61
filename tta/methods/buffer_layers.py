"""Buffer layers: small convolutions beside a network's own, which alone are trained."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from tta.backbones.stages import stage_modules
from tta.foundation.errors import UserError


class BufferLayer(nn.Module):
    """Adds ``scale * (w1 * conv1x1(x) + w3 * conv3x3(x))`` to maps ``[B, C, H, W]``.

    All of it is learned; ``w1`` and ``w3`` start at a half.

    Args:
        channels: C.
        scale: where the scale starts.
        generator: draws the kernels, uniformly within the bounds of a new convolution.
    """

    def __init__(self, channels: int, scale: float, generator: torch.Generator) -> None:
        super().__init__()
        self.pointwise = nn.Parameter(_drawn(channels, 1, generator))
        self.spatial = nn.Parameter(_drawn(channels, 3, generator))
        self.pointwise_weight = nn.Parameter(torch.tensor(0.5))
        self.spatial_weight = nn.Parameter(torch.tensor(0.5))
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, x: Tensor) -> Tensor:
        pointwise = self.pointwise_weight * nn.functional.conv2d(x, self.pointwise)
        spatial = self.spatial_weight * nn.functional.conv2d(x, self.spatial, padding=1)
        return x + self.scale * (pointwise + spatial)


def _drawn(channels: int, size: int, generator: torch.Generator) -> Tensor:
    bound = 1 / math.sqrt(channels * size**2)
    kernel = torch.rand(channels, channels, size, size, generator=generator)
    return kernel.mul_(2 * bound).sub_(bound)


def insert_buffers(
    model: nn.Module, stages: int, scale: float, generator: torch.Generator
) -> list[nn.Parameter]:
    """Put a buffer layer after a model's first convolution and before those of its first stages.

    In a stage, before every convolution with a kernel larger than one pixel: in residual blocks on
    the branch, as the shortcut leaves before it. The new parameters are returned, in their order.

    Args:
        model: is changed.
        stages: how many of its stages get layers.
        scale: see :class:`BufferLayer`.
        generator: draws kernels, in the order of the layers.

    Raises:
        UserError: there is no convolution.
    """
    first = next(_convolutions(model), None)
    if first is None:
        raise UserError(
            "buffer layers stand beside convolutions, and the backbone has none: choose another "
            "backbone (resnet50) or run the method inside by itself"
        )
    inside = [
        found
        for stage in stage_modules(model)[:stages]
        for found in _convolutions(stage)
        if max(found[2].kernel_size) > 1 and found[2] is not first[2]
    ]
    made = [_insert(*first, scale, generator, after=True)]
    made += [_insert(*found, scale, generator, after=False) for found in inside]
    return [parameter for layer in made for parameter in layer.parameters()]


def _convolutions(model: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Conv2d]]:
    """Yield (parent, name, convolution) of a model, in its order."""
    for parent in model.modules():
        for name, part in parent.named_children():
            if isinstance(part, nn.Conv2d):
                yield parent, name, part


def _insert(
    parent: nn.Module,
    name: str,
    layer: nn.Conv2d,
    scale: float,
    generator: torch.Generator,
    after: bool,
) -> BufferLayer:
    made = BufferLayer(layer.out_channels if after else layer.in_channels, scale, generator)
    made = made.to(layer.weight.device).to(layer.weight.dtype)
    both = nn.Sequential(layer, made) if after else nn.Sequential(made, layer)
    parent.add_module(name, both.train(layer.training))
    return made
