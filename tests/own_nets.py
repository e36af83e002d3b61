"""Networks as a stranger writes them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from tta.ops.generators import seeded_layers

NUM_CLASSES = 5


class OwnNet(nn.Module):
    """Convolutions and batch norm, a hidden layer and a last one of the same shape."""

    def __init__(self, width: int = 16, outputs: int = NUM_CLASSES) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.shrink = nn.Conv2d(width, width, 3, stride=2)
        self.norm2 = nn.BatchNorm2d(width)
        self.out = nn.Linear(width, outputs)

    def body(self, images: torch.Tensor) -> torch.Tensor:
        maps = self.norm(self.conv(images)).relu()
        return self.norm2(self.shrink(maps)).relu().mean((2, 3))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.out(self.body(images))


class Normalised(nn.Module):
    """A network whose forward normalises, as RobustBench's are."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mu", torch.tensor([0.49, 0.48, 0.45]).view(1, 3, 1, 1))
        self.register_buffer("sigma", torch.tensor([0.25, 0.24, 0.26]).view(1, 3, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network((images - self.mu) / self.sigma)


class Squares(OwnNet):
    """Two layers of equal shape, equal weights and a shared input; the second is the last."""

    def __init__(self) -> None:
        super().__init__(NUM_CLASSES)
        self.first = nn.Linear(NUM_CLASSES, NUM_CLASSES)
        self.second = nn.Linear(NUM_CLASSES, NUM_CLASSES)

    def forward(self, images):
        return self.second(self.first(self.body(images)).relu())


class CalledTwice(Squares):
    """One layer refines its own output."""

    def forward(self, images):
        return self.first(self.first(self.body(images)).relu())


class Changed(OwnNet):
    """Something follows the last layer."""

    def __init__(self, change) -> None:
        super().__init__()
        self.change = change

    def forward(self, images):
        return self.change(super().forward(images))


class ConvolutionHead(OwnNet):
    """A 1x1 convolution on pooled maps, flattened afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Conv2d(16, NUM_CLASSES, 1)

    def forward(self, images):
        return self.out(self.body(images)[:, :, None, None]).flatten(1)


def made(kind: Callable[..., nn.Module], *arguments: object) -> nn.Module:
    """Return a network in evaluation mode, with the same random weights every time."""
    with seeded_layers(0):
        return kind(*arguments).eval()
