"""Nets that timm lacks, registered in timm's registry on import."""

from __future__ import annotations

from tta.backbones.nets.bottleneck_resnet import resnet50_bottleneck256
from tta.backbones.nets.cifar_resnet import (
    cifar_resnet20,
    cifar_resnet32,
    cifar_resnet44,
    cifar_resnet56,
)
from tta.backbones.nets.cifar_resnext import resnext29_4x32d
from tta.backbones.nets.cifar_wide_resnet import wrn28_10
from tta.backbones.nets.digits_segnet import digits_segnet
from tta.backbones.nets.digits_vit import digits_vit
from tta.backbones.nets.distiller_resnet import (
    cifar_resnet8_distiller,
    cifar_resnet20_distiller,
    cifar_resnet32_distiller,
)
from tta.backbones.nets.mobilenetv1 import mobilenetv1_075

__all__ = [
    "cifar_resnet8_distiller",
    "cifar_resnet20",
    "cifar_resnet20_distiller",
    "cifar_resnet32",
    "cifar_resnet32_distiller",
    "cifar_resnet44",
    "cifar_resnet56",
    "digits_segnet",
    "digits_vit",
    "mobilenetv1_075",
    "resnet50_bottleneck256",
    "resnext29_4x32d",
    "wrn28_10",
]
