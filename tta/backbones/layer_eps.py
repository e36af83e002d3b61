"""The eps of a network's layers, which is no tensor and not the same in every package."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from torch import nn

from tta.foundation.errors import UserError

LAYER_EPS = "layer_eps"
"""Key of a safetensors header's metadata: eps by layer, as JSON."""


def layer_eps(model: nn.Module) -> dict[str, float]:
    """Return eps by name of the layers that have any, such as those that normalise."""
    found = {name: getattr(layer, "eps", None) for name, layer in model.named_modules()}
    return {name: eps for name, eps in found.items() if _is_number(eps)}


def stored_eps(metadata: Mapping[str, str], model: nn.Module, path: str) -> dict[str, float]:
    """Return what a header says of eps, of the layers where the model has another.

    Args:
        metadata: of the header.
        model: the network that the file is of.
        path: the file, for messages.

    Raises:
        UserError: that is no number between 0 and 1, or of a layer that has no eps.
    """
    if LAYER_EPS not in metadata:
        return {}
    own, stored = layer_eps(model), _parsed(metadata[LAYER_EPS])
    for layer, eps in stored.items():
        if layer not in own or not (_is_number(eps) and 0 < eps <= 1):
            raise UserError(
                f"checkpoint {path}: its header says eps {eps!r:.40} of layer {layer!r:.80}; write "
                "it again, or choose the architecture that it is of"
            )
    return {layer: float(eps) for layer, eps in stored.items() if eps != own[layer]}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _parsed(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {"": text}


def set_eps(model: nn.Module, changed: Mapping[str, float]) -> None:
    """Give layers their eps, in place; the model remembers which its architecture has not."""
    own = layer_eps(model)
    model.usual_eps = {layer: own[layer] for layer in changed} | getattr(model, "usual_eps", {})
    for layer, eps in changed.items():
        model.get_submodule(layer).eps = eps
    model.changed_eps = dict(changed)


def put_back_eps(model: nn.Module) -> None:
    """Give layers the eps of their architecture again, in place."""
    usual = getattr(model, "usual_eps", {})
    set_eps(model, usual)
    model.changed_eps = {}
