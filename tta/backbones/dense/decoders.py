"""Small decoders over the maps of an encoder: each gives one map, and a 1x1 convolution follows.

They are written after LRASPP (Howard et al., Searching for MobileNetV3, ICCV 2019, section 6.3)
and DeepLabV3 (Chen et al., Rethinking Atrous Convolution, 2017, section 3.3).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tta.ops.maps import enlarged


def convolution(
    inputs: int, outputs: int, side: int = 1, dilation: int = 1, stride: int = 1
) -> nn.Sequential:
    """Return a convolution, batch norm and ReLU; without a stride the map keeps its size."""
    padding = dilation * (side // 2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, side, stride, padding, dilation, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class LiteRaspp(nn.Module):
    """The deep map, weighted by its mean, enlarged and put beside the shallow one.

    The weights come of a map of one pixel; no batch norm is in that branch, so that a batch of one
    image is as any other.

    Args:
        low: channels of the shallow map.
        high: channels of the deep map.
        width: channels that the deep map is brought to.
    """

    def __init__(self, low: int, high: int, width: int = 64) -> None:
        super().__init__()
        self.width = low + width
        self.project = convolution(high, width)
        self.scale = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(high, width, 1, bias=False), nn.Sigmoid()
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return a map ``[B, width, h, w]`` of the shallow one's size."""
        low, high = maps
        weighted = self.project(high) * self.scale(high)
        return torch.cat([low, enlarged(weighted, tuple(low.shape[-2:]))], 1)


class AtrousPyramid(nn.Module):
    """Convolutions of several dilations beside the mean of the map, joined and smoothed.

    The branch of the mean has batch norm over a map of one pixel: with a batch of one image it has
    no statistics of its own, and layers that adapt keep the source's there.

    Args:
        inputs: channels of the map.
        rates: dilations, for a map at stride 16.
        width: channels of every branch and of the result.
    """

    def __init__(self, inputs: int, rates: Sequence[int] = (6, 12, 18), width: int = 256) -> None:
        super().__init__()
        self.width = width
        dilated = [convolution(inputs, width, 3, rate) for rate in rates]
        self.branches = nn.ModuleList([convolution(inputs, width), *dilated])
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), convolution(inputs, width))
        self.project = nn.Sequential(
            convolution((len(self.branches) + 1) * width, width), nn.Dropout(0.5)
        )
        self.smooth = convolution(width, width, 3)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return a map ``[B, width, h, w]`` of the encoder's size."""
        (deep,) = maps
        size = tuple(deep.shape[-2:])
        mean = self.pool(deep).expand(-1, -1, *size)  # as one pixel is, however it is enlarged
        joined = torch.cat([*(branch(deep) for branch in self.branches), mean], 1)
        return self.smooth(self.project(joined))


class EncoderDecoder(nn.Module):
    """An encoder, a decoder over some of its maps, and a 1x1 convolution.

    Args:
        encoder: gives a sequence of maps, one for each that the decoder takes.
        decoder: see above; its ``width`` is the number of channels of its map.
        num_classes: outputs.
    """

    dense = True

    def __init__(self, encoder: nn.Module, decoder: nn.Module, num_classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.classifier = nn.Conv2d(decoder.width, num_classes, 1)

    def forward_features(self, images: Tensor) -> Tensor:
        """Return the map before the classifier, of normalised images ``[B, 3, H, W]``."""
        return self.decoder(self.encoder(images))

    def get_classifier(self) -> nn.Conv2d:
        """Return the last convolution."""
        return self.classifier

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``[B, num_classes, h, w]`` at the decoder's stride."""
        return self.classifier(self.forward_features(images))
