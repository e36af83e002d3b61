"""CIFAR ResNets with parameter-free shortcuts (He et al. 2016, section 4.2, option A)."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from timm.models import generate_default_cfgs, register_model
from torch import Tensor, nn

from tta.backbones.nets.cifar_net import (
    CifarNet,
    build,
    cifar_config,
    conv3x3,
    init_convolutions,
    relu_,
)

_CONFIG = cifar_config(
    num_classes=10,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    first_conv="conv1",
    classifier="linear",
)
default_cfgs = generate_default_cfgs(
    {f"cifar_resnet{depth}": _CONFIG for depth in (20, 32, 44, 56)}
)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions; a wider block subsamples its input and pads it with zero channels."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, channels, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = conv3x3(channels, channels)
        self.bn2 = nn.BatchNorm2d(channels)
        self.stride = stride
        self.padding = (channels - in_channels) // 2

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, channels, H / stride, W / stride]."""
        out = relu_(self.bn1(self.conv1(x)))
        return relu_(self.bn2(self.conv2(out)).add_(self._shortcut(x)))

    def _shortcut(self, x: Tensor) -> Tensor:
        if self.stride == 1 and not self.padding:
            return x
        # Not x[:, :, ::2, ::2], whose gradient has another layout than channels-last activations.
        subsampled = F.avg_pool2d(x, 1, self.stride)
        return F.pad(subsampled, (0, 0, 0, 0, self.padding, self.padding))


class CifarResNet(CifarNet):
    """ResNet of 6n + 2 layers with widths 16, 32 and 64."""

    classifier_name = "linear"

    def __init__(
        self, depth: int, num_classes: int = 10, in_chans: int = 3, drop_rate: float = 0.0
    ) -> None:
        super().__init__(64, num_classes, drop_rate)
        blocks = (depth - 2) // 6
        self.conv1 = conv3x3(in_chans, 16)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _layer(16, 16, 1, blocks)
        self.layer2 = _layer(16, 32, 2, blocks)
        self.layer3 = _layer(32, 64, 2, blocks)
        init_convolutions(self)

    def forward_features(self, images: Tensor) -> Tensor:
        """Return maps [B, 64, 8, 8] of normalised images."""
        x = relu_(self.bn1(self.conv1(images)))
        return self.layer3(self.layer2(self.layer1(x)))


def _layer(in_channels: int, channels: int, stride: int, blocks: int) -> nn.Sequential:
    first = BasicBlock(in_channels, channels, stride)
    return nn.Sequential(first, *(BasicBlock(channels, channels, 1) for _ in range(blocks - 1)))


@register_model
def cifar_resnet20(pretrained: bool = False, **kwargs: Any) -> CifarResNet:
    """ResNet-20 for CIFAR."""
    return build(CifarResNet, "cifar_resnet20", pretrained, depth=20, **kwargs)


@register_model
def cifar_resnet32(pretrained: bool = False, **kwargs: Any) -> CifarResNet:
    """ResNet-32 for CIFAR."""
    return build(CifarResNet, "cifar_resnet32", pretrained, depth=32, **kwargs)


@register_model
def cifar_resnet44(pretrained: bool = False, **kwargs: Any) -> CifarResNet:
    """ResNet-44 for CIFAR."""
    return build(CifarResNet, "cifar_resnet44", pretrained, depth=44, **kwargs)


@register_model
def cifar_resnet56(pretrained: bool = False, **kwargs: Any) -> CifarResNet:
    """ResNet-56 for CIFAR."""
    return build(CifarResNet, "cifar_resnet56", pretrained, depth=56, **kwargs)
