"""Making backbones from timm's registry; the one place that creates a timm model."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
from timm.data import resolve_data_config
from torch import nn

from tta.backbones import nets
from tta.backbones.backbone import Backbone
from tta.backbones.checkpoint import load_checkpoint
from tta.backbones.domain_heads import load_heads
from tta.errors import UserError, did_you_mean
from tta.ops.generators import seeded_layers


def create_backbone(
    name: str,
    *,
    weights: str | Path | None = None,
    num_classes: int | None = None,
    class_subset: Sequence[int] | None = None,
    model_kwargs: dict[str, Any] | None = None,
    pretrained: bool | None = None,
) -> Backbone:
    """See ``tta.backbones.create_backbone``."""
    _check_name(name)
    name = full_name(name)
    pretrained = _use_pretrained(name, weights, pretrained)
    if pretrained:
        _check_pretrained_classes(name, num_classes)
    model = _create_model(name, pretrained, {**(model_kwargs or {}), "num_classes": num_classes})
    heads = load_checkpoint(model, weights, name) if weights is not None else {}
    backbone = wrap_model(model, name, class_subset, (model_kwargs or {}).get("img_size"))
    if heads:
        outputs = model.get_classifier().weight.shape[0]
        backbone.attach(load_heads(heads, backbone.feature_dim, outputs, weights))
    return backbone


def wrap_model(
    model: nn.Module,
    name: str | None = None,
    class_subset: Sequence[int] | None = None,
    img_size: int | Sequence[int] | None = None,
) -> Backbone:
    """See ``tta.backbones.wrap_model``; ``img_size`` overrides the configured H and W."""
    name = name or type(model).__name__
    if not getattr(model, "pretrained_cfg", None):
        raise UserError(
            f"backbone {name!r} is refused: it has no pretrained_cfg, which tells its "
            "normalisation and image size; create it with timm.create_model"
        )
    config = resolve_data_config({}, model=model)
    channels, height, width = config["input_size"]
    if img_size is not None:
        height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
    return Backbone(
        model,
        name=name,
        input_size=(channels, height, width),
        mean=config["mean"],
        std=config["std"],
        class_subset=class_subset,
    )


def full_name(name: str) -> str:
    """Return a name with the tag of the configuration that timm takes where none is given."""
    known = timm.get_pretrained_cfg(name, allow_unregistered=True)
    return f"{known.architecture}.{known.tag}" if known is not None and known.tag else name


def _check_name(name: str) -> None:
    architectures = timm.list_models()
    tagged = timm.list_models(include_tags=True)
    if name in architectures or name in tagged:
        return
    near = difflib.get_close_matches(name, [*architectures, *tagged], n=3)
    raise UserError(
        f"unknown backbone {name!r}; {did_you_mean(name, near or nets.__all__)}"
        + ("" if near else " and all of timm.list_models()")
    )


def _use_pretrained(name: str, weights: str | Path | None, pretrained: bool | None) -> bool:
    if weights is not None:
        if pretrained:
            raise UserError(
                f"backbone {name!r}: both --weights {weights} and pretrained weights are asked "
                "for; leave one of them out"
            )
        return False
    if pretrained is not False and not timm.models.is_model_pretrained(name):
        raise UserError(
            f"backbone {name!r} has no published weights in timm; pass --weights FILE, a "
            "checkpoint of it"
        )
    return pretrained is not False


def _check_pretrained_classes(name: str, num_classes: int | None) -> None:
    published = timm.models.get_pretrained_cfg(name).num_classes
    if num_classes not in (None, published):
        raise UserError(
            f"backbone {name!r} was pretrained on {published} classes, {num_classes} are asked "
            f"for: its classifier would be random; pass --weights FILE, trained on {num_classes} "
            "classes, or a class subset"
        )


def _create_model(name: str, pretrained: bool, kwargs: dict[str, Any]) -> nn.Module:
    with seeded_layers(0):
        try:
            return timm.create_model(name, pretrained=pretrained, **kwargs)
        except TypeError as error:
            raise UserError(f"backbone {name!r} refuses its model_kwargs: {error}") from error
        except (OSError, RuntimeError) as error:
            if not pretrained:
                raise
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(
                f"the pretrained weights of backbone {name!r} cannot be downloaded or loaded "
                f"({reason}); check the network, or pass --weights FILE"
            ) from error
