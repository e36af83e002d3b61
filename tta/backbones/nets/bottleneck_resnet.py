"""ResNet-50 with a bottleneck and a weight-normalised classifier, for DomainNet-126.

The network of SHOT (Liang et al., ICML 2020) in the form of AdaContrast's released checkpoints
(Chen et al., CVPR 2022), whose key names load.
"""

from __future__ import annotations

from typing import Any

import timm
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

default_cfgs = generate_default_cfgs(
    {
        "resnet50_bottleneck256": {
            "num_classes": 126,
            "input_size": (3, 224, 224),
            "mean": (0.485, 0.456, 0.406),
            "std": (0.229, 0.224, 0.225),
            "crop_pct": 0.875,
            "interpolation": "bilinear",
            "first_conv": "encoder.0.conv1",
            "classifier": "fc",
        }
    }
)


class BottleneckResNet(nn.Module):
    """ResNet-50, then Linear(2048, 256) and BatchNorm1d, then a weight-normalised Linear.

    Args:
        num_classes: outputs of the classifier.
        in_chans: channels of an image.
        bottleneck_dim: features that the classifier sees.
        drop_rate: dropout before the bottleneck.
        drop_path_rate: stochastic depth of the ResNet.
    """

    def __init__(
        self,
        num_classes: int = 126,
        in_chans: int = 3,
        bottleneck_dim: int = 256,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        resnet = timm.create_model(
            "resnet50",
            num_classes=bottleneck_dim,
            in_chans=in_chans,
            drop_rate=drop_rate,
            drop_path_rate=drop_path_rate,
        )
        self.encoder = nn.Sequential(resnet, nn.BatchNorm1d(bottleneck_dim))
        self.num_features = self.head_hidden_size = bottleneck_dim
        self.reset_classifier(num_classes)

    def get_classifier(self) -> nn.Module:
        """Return the classifier layer."""
        return self.fc

    @property
    def bottleneck(self) -> nn.Module:
        """The layers between the ResNet's pooled maps and the classifier."""
        resnet, norm = self.encoder
        return nn.ModuleList([resnet.get_classifier(), norm])

    def reset_classifier(self, num_classes: int) -> None:
        """Put a fresh weight-normalised classifier."""
        self.num_classes = num_classes
        self.fc = weight_norm(nn.Linear(self.num_features, num_classes), dim=0)

    def forward_features(self, images: Tensor) -> Tensor:
        """Return the ResNet's last maps [B, 2048, h, w]."""
        return self.encoder[0].forward_features(images)

    def forward_head(self, maps: Tensor, pre_logits: bool = False) -> Tensor:
        """Return logits [B, num_classes], or bottleneck features [B, 256] with ``pre_logits``."""
        resnet, norm = self.encoder
        features = norm(resnet.forward_head(maps))
        return features if pre_logits else self.fc(features)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [B, num_classes] of normalised images."""
        return self.forward_head(self.forward_features(images))


@register_model
def resnet50_bottleneck256(pretrained: bool = False, **kwargs: Any) -> BottleneckResNet:
    """ResNet-50 with 256 bottleneck features for the 126 classes of DomainNet-126."""
    return build_model_with_cfg(BottleneckResNet, "resnet50_bottleneck256", pretrained, **kwargs)
