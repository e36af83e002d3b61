"""CIFAR ResNeXt (Xie et al. 2017) with the key names of AugMix's and RobustBench's checkpoints."""

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

default_cfgs = generate_default_cfgs(
    {
        "resnext29_4x32d": cifar_config(
            num_classes=100,
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            first_conv="conv_1_3x3",
            classifier="classifier",
        )
    }
)


class Bottleneck(nn.Module):
    """1x1, grouped 3x3 and 1x1 convolution; the first block of a stage projects its shortcut."""

    expansion = 4

    def __init__(
        self, in_channels: int, planes: int, stride: int, cardinality: int, base_width: int
    ) -> None:
        super().__init__()
        width = planes * base_width // 64 * cardinality
        channels = planes * self.expansion
        self.conv_reduce = conv1x1(in_channels, width)
        self.bn_reduce = nn.BatchNorm2d(width)
        self.conv_conv = conv3x3(width, width, stride, groups=cardinality)
        self.bn = nn.BatchNorm2d(width)
        self.conv_expand = conv1x1(width, channels)
        self.bn_expand = nn.BatchNorm2d(channels)
        self.downsample = None
        if in_channels != channels:
            self.downsample = nn.Sequential(
                conv1x1(in_channels, channels, stride), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, 4 * planes, H / stride, W / stride]."""
        out = relu_(self.bn_reduce(self.conv_reduce(x)))
        out = relu_(self.bn(self.conv_conv(out)))
        shortcut = x if self.downsample is None else self.downsample(x)
        return relu_(self.bn_expand(self.conv_expand(out)).add_(shortcut))


class CifarResNeXt(CifarNet):
    """ResNeXt of 9n + 2 layers with 64, 128 and 256 planes."""

    classifier_name = "classifier"

    def __init__(
        self,
        depth: int,
        cardinality: int,
        base_width: int,
        num_classes: int = 100,
        in_chans: int = 3,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__(256 * Bottleneck.expansion, num_classes, drop_rate)
        self.conv_1_3x3 = conv3x3(in_chans, 64)
        self.bn_1 = nn.BatchNorm2d(64)
        stage = {"blocks": (depth - 2) // 9, "cardinality": cardinality, "base_width": base_width}
        self.stage_1 = _stage(64, 64, 1, **stage)
        self.stage_2 = _stage(256, 128, 2, **stage)
        self.stage_3 = _stage(512, 256, 2, **stage)
        init_convolutions(self)

    def forward_features(self, images: Tensor) -> Tensor:
        """Return maps [B, 1024, 8, 8] of normalised images."""
        x = relu_(self.bn_1(self.conv_1_3x3(images)))
        return self.stage_3(self.stage_2(self.stage_1(x)))


def _stage(in_channels: int, planes: int, stride: int, blocks: int, **groups: int) -> nn.Sequential:
    first = Bottleneck(in_channels, planes, stride, **groups)
    channels = planes * Bottleneck.expansion
    rest = (Bottleneck(channels, planes, 1, **groups) for _ in range(blocks - 1))
    return nn.Sequential(first, *rest)


@register_model
def resnext29_4x32d(pretrained: bool = False, **kwargs: Any) -> CifarResNeXt:
    """ResNeXt-29 4x32d, RobustBench's "Hendrycks2020AugMix_ResNeXt" for CIFAR-100."""
    shape = {"depth": 29, "cardinality": 4, "base_width": 32}
    return build(CifarResNeXt, "resnext29_4x32d", pretrained, **shape, **kwargs)
