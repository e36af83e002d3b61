"""A small network that segments pictures of 64 pixels, for the embedded digits on a canvas."""

from __future__ import annotations

from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from tta.backbones.dense.decoders import EncoderDecoder, LiteRaspp, convolution

default_cfgs = generate_default_cfgs(
    {
        "digits_segnet": {
            "num_classes": 11,
            "input_size": (3, 64, 64),
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
            "first_conv": "encoder.low.0.0",
            "classifier": "classifier",
        }
    }
)


class _Encoder(nn.Module):
    """Seven 3x3 convolutions with batch norm; maps of strides 2 and 8."""

    def __init__(self, channels: int, low: int, high: int) -> None:
        super().__init__()
        self.low = nn.Sequential(
            convolution(channels, 16, 3),
            convolution(16, low, 3, stride=2),
            convolution(low, low, 3),
        )
        self.high = nn.Sequential(
            convolution(low, 64, 3, stride=2),
            convolution(64, 64, 3),
            convolution(64, high, 3, stride=2),
            convolution(high, high, 3),
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        low = self.low(images)
        return low, self.high(low)


class DigitsSegNet(EncoderDecoder):
    """The encoder under a decoder after LRASPP; logits at stride 2."""

    def __init__(
        self, num_classes: int = 11, in_chans: int = 3, low: int = 32, high: int = 96
    ) -> None:
        super().__init__(_Encoder(in_chans, low, high), LiteRaspp(low, high), num_classes)


@register_model
def digits_segnet(pretrained: bool = False, **kwargs: Any) -> DigitsSegNet:
    """Return the network: eight convolutions with batch norm, 220 thousand parameters."""
    return build_model_with_cfg(DigitsSegNet, "digits_segnet", pretrained, **kwargs)
