"""CIFAR ResNets of the Distiller model zoo: wide stem, no ReLU between the blocks of a layer."""

from __future__ import annotations

from typing import Any

from timm.models import generate_default_cfgs, register_model
from torch import Tensor, nn

from tta.backbones.nets.cifar_net import (
    CifarNet,
    build,
    cifar_config,
    conv1x1,
    conv3x3,
    init_convolutions,
    relu_,
)

_CONFIG = cifar_config(
    num_classes=100,
    mean=(0.507, 0.487, 0.441),
    std=(0.267, 0.256, 0.276),
    first_conv="conv1",
    classifier="linear",
)
default_cfgs = generate_default_cfgs(
    {f"cifar_resnet{depth}_distiller": _CONFIG for depth in (8, 20, 32)}
)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, summed without a ReLU; the first of a layer projects."""

    def __init__(self, in_channels: int, channels: int, stride: int, project: bool) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, channels, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = conv3x3(channels, channels)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential()
        if project:
            self.shortcut.append(conv1x1(in_channels, channels, stride))
            self.shortcut.append(nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, channels, H / stride, W / stride]."""
        out = relu_(self.bn1(self.conv1(x)))
        return self.bn2(self.conv2(out)).add_(self.shortcut(x))


class DistillerResNet(CifarNet):
    """ResNet of 6n + 2 layers with a stem of 64, widths 16, 32 and 64, and 2x2 pooled cells."""

    classifier_name = "linear"
    pool_grid = 2

    def __init__(
        self, depth: int, num_classes: int = 100, in_chans: int = 3, drop_rate: float = 0.0
    ) -> None:
        super().__init__(64 * self.pool_grid**2, num_classes, drop_rate)
        blocks = (depth - 2) // 6
        self.conv1 = conv3x3(in_chans, 64)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _layer(64, 16, 1, blocks)
        self.layer2 = _layer(16, 32, 2, blocks)
        self.layer3 = _layer(32, 64, 2, blocks)
        init_convolutions(self)

    def forward_features(self, images: Tensor) -> Tensor:
        """Return maps [B, 64, 8, 8] of normalised images."""
        x = relu_(self.bn1(self.conv1(images)))
        for layer in (self.layer1, self.layer2, self.layer3):
            x = relu_(layer(x))
        return x


def _layer(in_channels: int, channels: int, stride: int, blocks: int) -> nn.Sequential:
    rest = (BasicBlock(channels, channels, 1, project=False) for _ in range(blocks - 1))
    return nn.Sequential(BasicBlock(in_channels, channels, stride, project=True), *rest)


@register_model
def cifar_resnet8_distiller(pretrained: bool = False, **kwargs: Any) -> DistillerResNet:
    """ResNet-8 of the Distiller model zoo."""
    return build(DistillerResNet, "cifar_resnet8_distiller", pretrained, depth=8, **kwargs)


@register_model
def cifar_resnet20_distiller(pretrained: bool = False, **kwargs: Any) -> DistillerResNet:
    """ResNet-20 of the Distiller model zoo."""
    return build(DistillerResNet, "cifar_resnet20_distiller", pretrained, depth=20, **kwargs)


@register_model
def cifar_resnet32_distiller(pretrained: bool = False, **kwargs: Any) -> DistillerResNet:
    """ResNet-32 of the Distiller model zoo."""
    return build(DistillerResNet, "cifar_resnet32_distiller", pretrained, depth=32, **kwargs)
