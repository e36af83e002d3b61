"""What the CIFAR nets share: timm's model protocol around one linear classifier."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from timm.models import build_model_with_cfg
from torch import Tensor, nn


class CifarNet(nn.Module):
    """Base of nets for 32x32 images.

    A subclass sets ``classifier_name`` and ``pool_grid``, makes its layers and implements
    ``forward_features(images [B, in_chans, 32, 32]) -> [B, C, h, w]``. Attribute names are those
    of the published checkpoints.
    """

    classifier_name: str
    pool_grid = 1  # average pooling leaves a grid of this many cells a side

    def __init__(self, num_features: int, num_classes: int, drop_rate: float) -> None:
        super().__init__()
        self.num_features = self.head_hidden_size = num_features
        self.drop_rate = drop_rate
        self.reset_classifier(num_classes)

    def get_classifier(self) -> nn.Module:
        """Return the classifier layer."""
        return getattr(self, self.classifier_name)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put a fresh classifier; none (an Identity) for 0 classes. The pooling is fixed."""
        if global_pool not in (None, "avg"):
            raise ValueError(f"{type(self).__name__} pools by 'avg' only, not by {global_pool!r}")
        self.num_classes = num_classes
        layer = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()
        setattr(self, self.classifier_name, layer)

    def forward_head(self, maps: Tensor, pre_logits: bool = False) -> Tensor:
        """Return logits [B, num_classes], or pooled features [B, D] with ``pre_logits``."""
        pooled = F.adaptive_avg_pool2d(maps, self.pool_grid).flatten(1)
        pooled = F.dropout(pooled, self.drop_rate, self.training)
        return pooled if pre_logits else self.get_classifier()(pooled)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [B, num_classes] of normalised images."""
        return self.forward_head(self.forward_features(images))


def init_convolutions(model: nn.Module) -> None:
    """Initialise convolutions by He et al. (2015) with the fan-out."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def relu_(x: Tensor) -> Tensor:
    """Return ``relu(x)``, written over ``x``.

    Only for sums and outputs of batch norm, which nothing else reads, their gradients neither. A
    third of the time of a ReLU that goes to memory of its own.
    """
    return F.relu(x, inplace=True)


def conv3x3(in_channels: int, channels: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """Return a padded 3x3 convolution without bias."""
    return nn.Conv2d(in_channels, channels, 3, stride, padding=1, groups=groups, bias=False)


def conv1x1(in_channels: int, channels: int, stride: int = 1) -> nn.Conv2d:
    """Return a 1x1 convolution without bias."""
    return nn.Conv2d(in_channels, channels, 1, stride, bias=False)


def cifar_config(
    num_classes: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    first_conv: str,
    classifier: str,
) -> dict[str, Any]:
    """Return timm's pretrained_cfg of a net for 32x32 images, without published weights."""
    return {
        "num_classes": num_classes,
        "input_size": (3, 32, 32),
        "mean": mean,
        "std": std,
        "crop_pct": 1.0,
        "interpolation": "bilinear",
        "first_conv": first_conv,
        "classifier": classifier,
    }


def build(net: type[CifarNet], name: str, pretrained: bool, **kwargs: Any) -> CifarNet:
    """Build a registered net as timm builds its own.

    timm's keyword arguments for all models (``pretrained_cfg``, ``cache_dir``, ...) are consumed
    there; the rest reaches the constructor.
    """
    return build_model_with_cfg(net, name, pretrained, **kwargs)
