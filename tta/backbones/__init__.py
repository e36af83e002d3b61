"""Source models: any network that ends in a linear layer, behind ``features()`` and ``head()``.

timm is imported when the first backbone is made, so that the commands start fast. Importing
``tta.backbones.nets`` registers the nets of this package in timm's own registry.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tta.backbones.clip_names import is_clip

if TYPE_CHECKING:
    from torch import nn

    from tta.backbones.backbone import Backbone


def create_backbone(
    name: str,
    *,
    weights: str | Path | None = None,
    num_classes: int | None = None,
    class_subset: Sequence[int] | None = None,
    model_kwargs: dict[str, Any] | None = None,
    pretrained: bool | None = None,
    weights_kind: str = "auto",
    normalisation: tuple[Sequence[float], Sequence[float]] | None = None,
) -> Backbone:
    """Make a source model: on the CPU, in eval mode, no parameter requiring a gradient.

    Args:
        name: any timm name, with or without a tag (``resnet50.a1_in1k``), or a net of
            ``tta.backbones.nets``.
        weights: a checkpoint of this architecture, see ``tta.backbones.checkpoint``.
        num_classes: outputs of the classifier; by default what a ``config.json`` beside the
            checkpoint says, else what the architecture is configured for.
        class_subset: ids of the classes to keep; the logits then have these columns, in this order.
        model_kwargs: further arguments of the timm model (``{"drop_path_rate": 0.1}``).
        pretrained: load timm's weights. By default, when no file is given and timm has weights of
            that name. ``False`` without a file gives a random network, the same one every time.
        weights_kind: ``raw`` or ``ema`` for a checkpoint that holds both; ``auto`` is raw there.
        normalisation: mean and std per channel, over what the checkpoint says or timm has.

    Raises:
        UserError: an unknown name, weights that are missing or do not fit, a model that cannot be
            split into features and a linear head.
    """
    from tta.backbones import factory

    return factory.create_backbone(
        name,
        weights=weights,
        num_classes=num_classes,
        class_subset=class_subset,
        model_kwargs=model_kwargs,
        pretrained=pretrained,
        weights_kind=weights_kind,
        normalisation=normalisation,
    )


def is_same_backbone(name: str, other: str | None) -> bool:
    """Return whether two names mean one thing: timm's default tag may be left out."""
    if name == other or other is None or is_clip(name) or is_clip(other):
        return name == other
    from tta.backbones import factory

    return factory.full_name(name) == factory.full_name(other)


def wrap_model(
    model: nn.Module,
    name: str | None = None,
    class_subset: Sequence[int] | None = None,
    *,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    input_size: Sequence[int] | None = None,
    num_classes: int | None = None,
    split: str | None = None,
) -> Backbone:
    """Make a backbone of a copy of ``model``, which itself stays as it is.

    Args:
        model: any network that returns logits ``[B, C]`` of a last linear layer (a Linear or a
            1x1 convolution) on one feature vector per image.
        name: what messages and records call it; by default timm's name, else its class.
        class_subset: ids of the classes to keep; the logits then have these columns.
        mean: per channel, for images in [0, 1], or one number for all. By default timm's
            configuration says it for timm's models, ImageNet's is taken for torchvision's, and
            for any other network images stay in [0, 1]: it normalises them itself.
        std: likewise.
        input_size: (C, H, W) of one image, or (H, W) of three channels; timm's and torchvision's
            models need none.
        num_classes: outputs that the model is meant to have, as a check.
        split: name of the last linear layer, such as ``fc``; found by trial where None. timm's
            models say it themselves.

    Raises:
        UserError: the model cannot be copied, run or split; a number does not fit.
    """
    from tta.backbones.taking import take_model

    return take_model(
        model,
        name,
        class_subset,
        mean=mean,
        std=std,
        input_size=input_size,
        num_classes=num_classes,
        split=split,
    )
