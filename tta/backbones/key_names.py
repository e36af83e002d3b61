"""Names of weights in other code for the same network, turned into those of the timm model."""

from __future__ import annotations

import inspect
import sys
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from tta.backbones.torchvision_names import from_torchvision

_FILTERS = ("checkpoint_filter_fn", "_filter_fn", "_filter_torchvision_pretrained")
# What a filter may raise on names that it was not written for.
_NO_MATCH = (LookupError, RuntimeError, ValueError, TypeError, AttributeError, AssertionError)


@dataclass(frozen=True)
class Converted:
    """Tensors by the names of the timm model.

    Attributes:
        tensors: by name.
        words: what was done.
        eps: of normalisation layers where it differs from the timm model's, by their name.
    """

    tensors: dict[str, Tensor]
    words: str
    eps: dict[str, float] = field(default_factory=dict)


def with_new_weight_norm(
    tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return the tensors with PyTorch's present names of weight norm, where the model has them."""
    if not any(".parametrizations.weight." in key for key in expected):
        return dict(tensors)
    return {_new_name(key): value for key, value in tensors.items()}


def _new_name(key: str) -> str:
    layer, _, kind = key.rpartition(".")
    part = {"weight_g": "original0", "weight_v": "original1"}.get(kind)
    return f"{layer}.parametrizations.weight.{part}" if part else key


def convert(
    tensors: Mapping[str, Tensor], model: nn.Module, name: str, body: Collection[str]
) -> Converted | None:
    """Return a checkpoint of another code for the same network by the names of ``model``.

    Args:
        tensors: by name, without wrappers.
        model: the timm model.
        name: its architecture.
        body: names that there must be in the end.

    Returns:
        None where neither timm nor torchvision tells how.
    """
    converted = _by_timm(tensors, model, body)
    if converted is not None:
        return Converted(converted, f"names as timm converts them for {name}")
    found = from_torchvision(tensors, model, name)
    if found is None:
        return None
    words = f"torchvision's {found.name}, by timm's names: the outputs are equal"
    if found.eps:
        words += f"; eps of {len(found.eps)} normalisation layers as torchvision has it"
    return Converted(found.tensors, words, found.eps)


def _by_timm(
    tensors: Mapping[str, Tensor], model: nn.Module, body: Collection[str]
) -> dict[str, Tensor] | None:
    module = sys.modules[type(model).__module__]
    for name in _FILTERS:
        rename = getattr(module, name, None)
        if rename is None:
            continue
        arguments = (dict(tensors), model)[: len(inspect.signature(rename).parameters)]
        try:
            renamed = rename(*arguments)
        except _NO_MATCH:
            continue
        if all(key in renamed for key in body) and _sizes(renamed) == _sizes(tensors):
            return renamed
    return None


def _sizes(tensors: Mapping[str, Tensor]) -> Counter[int]:
    """Count tensors by size: a filter may rename and reshape here, not resample or leave out."""
    return Counter(
        value.numel()
        for key, value in tensors.items()
        if not key.endswith("num_batches_tracked") and isinstance(value, Tensor)
    )
