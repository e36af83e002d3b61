"""Networks of others that segment, behind ``forward_features`` and ``get_classifier``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tta.backbones.split import SplitModel
from tta.ops.maps import enlarged


def logits_of(output: Any) -> Any:
    """Return what a network gives as logits: torchvision's lie in a mapping under "out"."""
    return output["out"] if isinstance(output, dict) and "out" in output else output


class DenseSplit(SplitModel):
    """A network split at the convolution whose output, enlarged, is its own.

    Args:
        network: used as it is, and not copied.
        split: name of that convolution.
        align_corners: how the network enlarges.
    """

    dense = True

    def __init__(self, network: nn.Module, split: str, align_corners: bool = False) -> None:
        super().__init__(network, split)
        self.align_corners = align_corners

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits that the network gives, in its size."""
        return logits_of(self.network(images))


class TorchvisionSegmenter(nn.Module):
    """A DeepLabV3 or FCN of torchvision, without the classifier that only training reads.

    Args:
        network: of ``torchvision.models.segmentation``; changed.
    """

    dense = True

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        network.aux_classifier = None
        self.network = network

    def get_classifier(self) -> nn.Conv2d:
        """Return the last convolution."""
        return self.network.classifier[-1]

    def forward_features(self, images: Tensor) -> Tensor:
        """Return the map before the classifier, of normalised images ``[B, 3, H, W]``."""
        found = self.network.backbone(images)["out"]
        for layer in list(self.network.classifier)[:-1]:
            found = layer(found)
        return found

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``[B, C, H, W]`` in the size of the images."""
        return self.network(images)["out"]


class TorchvisionLiteRaspp(nn.Module):
    """torchvision's LRASPP: the sum of two 1x1 convolutions as one over both maps together.

    Args:
        network: whose weights are taken.
    """

    dense = True

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        head = network.classifier
        self.backbone, self.cbr, self.scale = network.backbone, head.cbr, head.scale
        both = (head.low_classifier, head.high_classifier)
        weight = torch.cat([layer.weight.detach() for layer in both], 1)
        self.classifier = nn.Conv2d(weight.shape[1], weight.shape[0], 1).to(weight)
        with torch.no_grad():
            self.classifier.weight.copy_(weight)
            self.classifier.bias.copy_(both[0].bias + both[1].bias)

    def get_classifier(self) -> nn.Conv2d:
        """Return the joined convolution."""
        return self.classifier

    def forward_features(self, images: Tensor) -> Tensor:
        """Return the shallow map beside the enlarged deep one ``[B, D, H / 8, W / 8]``."""
        maps = self.backbone(images)
        low, high = maps["low"], maps["high"]
        weighted = self.cbr(high) * self.scale(high)
        return torch.cat([low, enlarged(weighted, tuple(low.shape[-2:]))], 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``[B, C, H, W]`` in the size of the images."""
        return enlarged(self.classifier(self.forward_features(images)), tuple(images.shape[-2:]))


def wrapped(network: nn.Module) -> nn.Module:
    """Return torchvision's network behind this package's interface."""
    kind = TorchvisionLiteRaspp if _is_lite(network) else TorchvisionSegmenter
    return kind(network)


def is_torchvisions(network: nn.Module) -> bool:
    """Return whether a network is one of ``torchvision.models.segmentation``."""
    return type(network).__module__.startswith("torchvision.models.segmentation")


def _is_lite(network: nn.Module) -> bool:
    return type(network).__name__ == "LRASPP"
