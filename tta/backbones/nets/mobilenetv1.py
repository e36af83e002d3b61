"""MobileNetV1 0.75 (Howard et al. 2017) as TensorFlow trained it, from timm's generator."""

from __future__ import annotations

from typing import Any

from timm.models import EfficientNet, generate_default_cfgs, register_model
from timm.models.efficientnet import _gen_mobilenet_v1

default_cfgs = generate_default_cfgs(
    {
        "mobilenetv1_075": {
            "num_classes": 1000,
            "input_size": (3, 224, 224),
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
            "crop_pct": 0.875,
            "interpolation": "bicubic",
            "first_conv": "conv_stem",
            "classifier": "classifier",
        }
    }
)


@register_model
def mobilenetv1_075(pretrained: bool = False, **kwargs: Any) -> EfficientNet:
    """MobileNetV1 with channel multiplier 0.75 for ImageNet."""
    trained_by_tensorflow = {"bn_eps": 1e-3, "pad_type": "same"}
    return _gen_mobilenet_v1(
        "mobilenetv1_075", 0.75, pretrained=pretrained, **(trained_by_tensorflow | kwargs)
    )
