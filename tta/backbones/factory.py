"""Making backbones from timm's registry; the one place that creates a timm model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
from timm.data import resolve_data_config
from torch import nn

from tta.backbones import nets  # noqa: F401 - which registers them in timm
from tta.backbones.adapters import adapter_ranks, insert_adapters
from tta.backbones.backbone import Backbone
from tta.backbones.checkpoint import Loaded, load_checkpoint
from tta.backbones.checkpoint_file import read_checkpoint
from tta.backbones.clip_names import is_clip
from tta.backbones.dense.backbone import DenseBackbone
from tta.backbones.dense.loading import create_dense
from tta.backbones.dense.names import is_dense_name
from tta.backbones.domain_heads import load_heads
from tta.backbones.model_card import ModelCard, choose_normalisation, read_card
from tta.backbones.names import unknown_backbone
from tta.foundation.errors import UserError
from tta.ops.generators import seeded_layers


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
    """See ``tta.backbones.create_backbone``."""
    if is_dense_name(name):
        if model_kwargs:
            raise UserError(f"backbone {name!r} takes no model_kwargs")
        return create_dense(
            name, weights, num_classes, class_subset, pretrained, weights_kind, normalisation
        )
    _check_name(name)
    name = full_name(name)
    pretrained = _use_pretrained(name, weights, pretrained)
    if pretrained:
        _check_pretrained_classes(name, num_classes)
    file = read_checkpoint(weights) if weights is not None else None
    card = read_card(file, name) if file else ModelCard()
    kwargs = {
        **_input_size(name, card),
        **(model_kwargs or {}),
        "num_classes": num_classes or card.num_classes,
    }
    model = _create_model(name, pretrained, kwargs)
    ranks = adapter_ranks(file.content) if file else None
    if ranks is not None:
        insert_adapters(model, *ranks)
    loaded = load_checkpoint(model, file, name, weights_kind) if file else Loaded({}, None, "")
    if loaded.normalisation is not None:
        card = card.with_normalisation(*loaded.normalisation)
    backbone = _wrap(
        model, name, class_subset, kwargs.get("img_size"), card, normalisation, file is not None
    )
    if loaded.words:
        adapters = "" if ranks is None else f"; with adapters of ranks {ranks[0]} and {ranks[1]}"
        backbone.understood["weights"] = loaded.words + adapters
    if loaded.heads:
        outputs = model.get_classifier().weight.shape[0]
        backbone.attach(load_heads(loaded.heads, backbone.feature_dim, outputs, weights))
    return backbone


def _input_size(name: str, card: ModelCard) -> dict[str, Any]:
    """Return the argument with which a model of fixed input size is made for another."""
    config = timm.models.get_pretrained_cfg(name)
    if config is None or not config.fixed_input_size or card.input_size is None:
        return {}
    return {} if card.input_size == tuple(config.input_size) else {"img_size": card.input_size[1:]}


def _wrap(
    model: nn.Module,
    name: str,
    class_subset: Sequence[int] | None,
    img_size: int | Sequence[int] | None,
    card: ModelCard,
    normalisation: tuple[Sequence[float], Sequence[float]] | None = None,
    own_weights: bool = False,
) -> Backbone:
    config = resolve_data_config({}, model=model)
    channels, height, width = card.input_size or config["input_size"]
    if img_size is not None:
        height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
    usual = f"timm's configuration of {name}"
    mean, std, words = choose_normalisation(card, config, usual, normalisation, own_weights)
    kind = DenseBackbone if getattr(model, "dense", False) else Backbone
    backbone = kind(
        model,
        name=name,
        input_size=(channels, height, width),
        mean=mean,
        std=std,
        class_subset=class_subset,
    )
    backbone.label_names = card.label_names or model.pretrained_cfg.get("label_names")
    backbone.understood["normalisation"] = words
    return backbone


def full_name(name: str) -> str:
    """Return a name with the tag of the configuration that timm takes where none is given."""
    if is_dense_name(name):
        return name
    known = timm.get_pretrained_cfg(name, allow_unregistered=True)
    return f"{known.architecture}.{known.tag}" if known is not None and known.tag else name


def _check_name(name: str) -> None:
    if is_clip(name):
        raise UserError(
            f"backbone {name!r} is an image-text model, which classifies by the names of classes: "
            "it is made by tta.zero_shot(name, class_names), and by tta run --backbone"
        )
    known = [*timm.list_models(), *timm.list_models(include_tags=True)]
    if name not in known:
        raise unknown_backbone(name, known)


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
