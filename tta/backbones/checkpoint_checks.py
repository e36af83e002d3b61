"""What is refused of a checkpoint once its names are known: shapes, types, values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NoReturn

import torch
from torch import Tensor

from tta.foundation.errors import UserError

_LISTED = 8
_WIDENED = (torch.float16, torch.bfloat16, torch.float64)


def check_keys(
    state: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    path: str,
    name: str,
    classifier: str,
) -> None:
    """Refuse names that are missing or unexpected, and other shapes.

    Args:
        state: what is to be loaded.
        expected: the model's own.
        path: the file, for messages.
        name: the architecture, for messages.
        classifier: what the names of the model's classifier begin with.

    Raises:
        UserError: listing them, with what they tell of the checkpoint.
    """
    missing = [key for key in expected if key not in state]
    unexpected = [key for key in state if key not in expected]
    shapes = {
        key: (list(state[key].shape), list(value.shape))
        for key, value in expected.items()
        if key in state and state[key].shape != value.shape
    }
    problems = {
        "missing": missing,
        "unexpected": unexpected,
        "of another shape": [f"{key} {a} instead of {b}" for key, (a, b) in shapes.items()],
    }
    found = [f"{kind}: {shorten(keys)}" for kind, keys in problems.items() if keys]
    if not found:
        return
    of_classifier = all(key.startswith(classifier) for key in (*missing, *shapes)) and classifier
    cure = "choose the architecture and number of classes it was trained with"
    if of_classifier and shapes and not missing and not unexpected:
        outputs = next(iter(shapes.values()))[0][0]
        cure = f"pass --num-classes {outputs}, or choose another checkpoint"
    elif of_classifier and missing:
        cure = "it holds features without a classifier: train one on them and save both together"
    raise UserError(
        f"checkpoint {path} does not fit backbone {name!r}; {'; '.join(found)}; "
        f"{_origin(unexpected)}{cure}"
    )


_ORIGINS = (
    (("quant", "_packed_params", "zero_point"), "it was quantised"),
    (("roi_heads.", "rpn.", "bbox_embed"), "it is a detector's"),
    (("decoder_embed.", "mask_token"), "it was trained without labels, to reconstruct images"),
    (
        ("embeddings.cls_token", "encoder.layer.0.", "embedder.embedder", "encoder.layers.0.self"),
        "its names are those of Hugging Face's transformers, which timm's are not",
    ),
    (
        ("encoder.layers.encoder_layer_", "features.0.0.", "trunk_output.block1.", ".MBconv."),
        "its names are torchvision's, whose networks load where timm has the same one, under its "
        "name there",
    ),
    (("visual.", "text_projection", "logit_scale"), "it is of a model for images and text"),
)


def _origin(keys: list[str]) -> str:
    for marks, words in _ORIGINS:
        if any(mark in key for key in keys for mark in marks):
            return f"{words}; "
    return ""


def check_values(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: str) -> str:
    """Refuse tensors of a type that cannot be loaded as it is, or that are not finite.

    Returns:
        in words, which types become the model's own; or empty.

    Raises:
        UserError: naming the first such tensor.
    """
    converted: Counter[str] = Counter()
    for key, value in state.items():
        wanted = expected[key].dtype
        if not wanted.is_floating_point or key.endswith("num_batches_tracked"):
            continue
        kind = str(value.dtype).removeprefix("torch.")
        if value.layout != torch.strided or value.is_quantized or value.device.type == "meta":
            _refuse(path, key, "is no plain tensor (sparse, quantised or without values)")
        if value.dtype != wanted and value.dtype not in _WIDENED:
            _refuse(path, key, f"is {kind}, as where weights are quantised, and not {wanted}")
        if not bool(torch.isfinite(value.to(wanted)).all()):
            _refuse_values(path, key, value)
        if value.dtype != wanted:
            converted[f"{kind} to {str(wanted).removeprefix('torch.')}"] += 1
    return ", ".join(
        f"{count} tensor{'s' * (count > 1)} from {change}" for change, count in converted.items()
    )


def _refuse_values(path: str, key: str, value: Tensor) -> NoReturn:
    bad = int((~torch.isfinite(value.float())).sum())
    _refuse(path, key, f"has {bad} of {value.numel()} values that are NaN or infinite")


def _refuse(path: str, key: str, fault: str) -> NoReturn:
    raise UserError(
        f"checkpoint {path}: tensor {key!r} {fault}; choose a checkpoint with plain, finite weights"
    )


def shorten(items: Iterable[str]) -> str:
    """Return the first items, and how many more there are."""
    items = list(items)
    rest = f" and {len(items) - _LISTED} more" if len(items) > _LISTED else ""
    return ", ".join(items[:_LISTED]) + rest
