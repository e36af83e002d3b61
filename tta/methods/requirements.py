"""Whether a backbone and the data at hand give a method what it needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from tta.backbones.adapters import adapted_layers
from tta.backbones.backbone import Backbone
from tta.backbones.vision_transformer import is_class_token_transformer
from tta.foundation.errors import UserError
from tta.methods.base import SOURCE_NEEDS, Method, Need
from tta.methods.params import INNER
from tta.ops.norm.batch_norm import batch_norm_layers
from tta.ops.norm.instance_aware import instance_aware_layers
from tta.ops.parameters import norm_affine_parameters, norm_kinds

_OF_BACKBONE: dict[Need, tuple[Callable[[Backbone], bool], str]] = {
    Need.BATCH_NORM: (
        lambda backbone: any(True for _ in batch_norm_layers(backbone)),
        "needs batch-norm layers and backbone {backbone!r} has none that it can replace ({norms}); "
        "choose a backbone with batch norm (resnet50) or another method (tent)",
    ),
    Need.INSTANCE_AWARE_NORM: (
        lambda backbone: bool(instance_aware_layers(backbone)),
        "needs a source model trained with instance-aware batch norm and backbone {backbone!r} was "
        "not; train one with python -m tta.train_source --instance-aware and pass its file as "
        "--weights, or put such layers into this one with --set convert_batch_norm=true",
    ),
    Need.NORM_AFFINE: (
        lambda backbone: bool(norm_affine_parameters(backbone)),
        "trains the affine parameters of normalisation layers and backbone {backbone!r} has none "
        "({norms}); choose another backbone, or method 'source'",
    ),
    Need.VISION_TRANSFORMER: (
        is_class_token_transformer,
        "needs a vision transformer with a class token, one of timm's, and backbone {backbone!r} "
        "is none; choose one (vit_base_patch16_224) or another method (sar)",
    ),
    Need.ADAPTERS: (
        lambda backbone: bool(adapted_layers(backbone)),
        "needs a source model trained with adapters in its attention and backbone {backbone!r} was "
        "not; train one with python -m tta.train_source --adapters, or take the authors', and pass "
        "its file as --weights, or put fresh ones into this one with --set insert_adapters=true",
    ),
    Need.IMAGE_TEXT: (
        lambda backbone: backbone.text is not None,
        "is one of image-text models and backbone {backbone!r} reads no text; choose one "
        "(digits_clip, clip:ViT-B-16/openai) or another method (tent)",
    ),
    Need.TEXT_ENCODER: (
        lambda backbone: backbone.text is not None and backbone.text.takes_embedded,
        "trains tokens of prompts, for which it needs the text tower of CLIP, and backbone "
        "{backbone!r} has none that takes them; choose one (digits_clip, clip:ViT-B-16/openai) or "
        "another method",
    ),
    Need.DOMAIN_HEADS: (
        lambda backbone: getattr(backbone, "domain_heads", None) is not None,
        "needs a head for each of several source domains and backbone {backbone!r} has a single "
        "head; train one with python -m tta.train_source --drm and pass its file as --weights, use "
        "--dataset digits-r, or another method",
    ),
}
"""What tells that a backbone has what a method may need, and what is said where it has not."""


def check_needs(
    method: type[Method],
    params: Any,
    backbone: Backbone,
    has_source: bool,
    cloud: Backbone | None = None,
    stream_known: bool = True,
    at: str = "",
) -> None:
    """Refuse a run whose method lacks something, before the stream starts.

    Args:
        method: that is to run.
        params: its hyper-parameters.
        backbone: that it adapts.
        has_source: whether there are source images.
        cloud: a second model.
        stream_known: whether the length of the stream is.
        at: what stands before the names of its hyper-parameters, of a method inside another.

    Raises:
        UserError: naming what is missing and a way to provide it.
    """
    inside = getattr(params, "inner_params", None)
    if inside is not None:  # whose own needs it is that are named, and its own hyper-parameters
        facts = backbone, has_source, cloud, stream_known
        check_needs(params.find_inner(params.inner), inside, *facts, f"{at}{INNER}.")
    needs = method.needs(params)
    for need, (is_met, fault) in _OF_BACKBONE.items():
        if need in needs and not is_met(backbone):
            words = fault.format(backbone=backbone.name, norms=_norms(backbone))
            words = words.replace("--set ", f"--set {at}")
            raise UserError(f"method {method.name!r} {words}")
    if Need.CLOUD_MODEL in needs:
        _check_cloud(method, needs, backbone, cloud)
    if Need.STREAM_LENGTH in needs and not stream_known:
        raise UserError(
            f"method {method.name!r} must know how many images will come: pass stream_length=..."
        )
    if Need.WEIGHT_VECTORS in needs:
        raise UserError(
            f"method {method.name!r} moves the source model along directions in weight space, and "
            f"none are given; pass {_file_parameters(method, at)}, a file that "
            "tta.source.weight_vector_files.save_vectors has written for this network"
        )
    if needs & SOURCE_NEEDS and not has_source:
        raise UserError(
            f"method {method.name!r} needs source images; pass --source NAME, "
            "arrays:PATH.npz or folder:PATH"
        )


def _file_parameters(method: type[Method], at: str) -> str:
    fields = dataclasses.fields(method.Params)
    files = [field.name for field in fields if field.metadata.get("unit") == "file"]
    return " or ".join(f"--set {at}{name}=FILE" for name in files)


def _check_cloud(
    method: type[Method], needs: frozenset[Need], backbone: Backbone, cloud: Backbone | None
) -> None:
    if cloud is None:
        raise UserError(
            f"method {method.name!r} needs a {method.second_model}; pass --cloud-backbone NAME "
            "(any timm model) and, unless timm can download its weights, --cloud-weights FILE"
        )
    if cloud.num_classes != backbone.num_classes:
        raise UserError(
            f"cloud backbone {cloud.name!r} knows {cloud.num_classes} classes and backbone "
            f"{backbone.name!r} {backbone.num_classes}; pass a --cloud-backbone, with its "
            "--cloud-weights, for the same classes"
        )
    if Need.NORM_AFFINE in needs and not norm_affine_parameters(cloud):
        raise UserError(
            f"method {method.name!r} trains the affine parameters of normalisation layers and "
            f"cloud backbone {cloud.name!r} has none ({_norms(cloud)}); choose another "
            "--cloud-backbone"
        )


def _norms(backbone: Backbone) -> str:
    kinds = norm_kinds(backbone)
    if not kinds:
        return "it has no normalisation layers"
    return f"its normalisation layers are {', '.join(kinds)}"
