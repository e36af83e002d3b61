"""WideResNet (Zagoruyko & Komodakis 2016) with the key names of RobustBench's checkpoints."""

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
        # RobustBench's "Standard" takes images in [0, 1] as they are.
        "wrn28_10": cifar_config(
            num_classes=10,
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
            first_conv="conv1",
            classifier="fc",
        )
    }
)


class PreActBlock(nn.Module):
    """Pre-activation block; where the width changes, the shortcut projects the activated input."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = conv3x3(in_channels, channels, stride)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = conv3x3(channels, channels)
        self.convShortcut = (  # the checkpoints' name
            conv1x1(in_channels, channels, stride) if in_channels != channels else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, channels, H / stride, W / stride]."""
        activated = relu_(self.bn1(x))
        shortcut = x if self.convShortcut is None else self.convShortcut(activated)
        return self.conv2(relu_(self.bn2(self.conv1(activated)))).add_(shortcut)


class Stage(nn.Module):
    """Blocks of one width."""

    def __init__(self, in_channels: int, channels: int, stride: int, blocks: int) -> None:
        super().__init__()
        rest = (PreActBlock(channels, channels, 1) for _ in range(blocks - 1))
        self.layer = nn.Sequential(PreActBlock(in_channels, channels, stride), *rest)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, channels, H / stride, W / stride]."""
        return self.layer(x)


class CifarWideResNet(CifarNet):
    """WideResNet of 6n + 4 layers with widths 16k, 32k and 64k."""

    classifier_name = "fc"

    def __init__(
        self,
        depth: int,
        widen_factor: int,
        num_classes: int = 10,
        in_chans: int = 3,
        drop_rate: float = 0.0,
    ) -> None:
        widths = [16 * widen_factor, 32 * widen_factor, 64 * widen_factor]
        super().__init__(widths[2], num_classes, drop_rate)
        blocks = (depth - 4) // 6
        self.conv1 = conv3x3(in_chans, 16)
        self.block1 = Stage(16, widths[0], 1, blocks)
        self.block2 = Stage(widths[0], widths[1], 2, blocks)
        self.block3 = Stage(widths[1], widths[2], 2, blocks)
        self.bn1 = nn.BatchNorm2d(widths[2])
        init_convolutions(self)

    def forward_features(self, images: Tensor) -> Tensor:
        """Return maps [B, 64k, 8, 8] of normalised images."""
        x = self.block3(self.block2(self.block1(self.conv1(images))))
        return relu_(self.bn1(x))


@register_model
def wrn28_10(pretrained: bool = False, **kwargs: Any) -> CifarWideResNet:
    """WideResNet-28-10, RobustBench's "Standard" for CIFAR-10."""
    return build(CifarWideResNet, "wrn28_10", pretrained, depth=28, widen_factor=10, **kwargs)
