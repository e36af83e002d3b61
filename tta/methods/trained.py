"""Which parameters the methods that train a whole network take for it."""

from __future__ import annotations

from typing import Any

from torch import nn

from tta.methods.params import param
from tta.ops.parameters import all_parameters, weights_and_biases

_CHOICES = {"all": all_parameters, "weights_and_biases": weights_and_biases}


def trained_param() -> Any:
    """Declare the choice as a hyper-parameter."""
    return param(
        "all",
        "all parameters, or what modules call weight or bias: no class token, position embedding, "
        "layer scale or weight-norm pair",
        choices=tuple(_CHOICES),
    )


def trained_parameters(model: nn.Module, trained: str) -> list[nn.Parameter]:
    """Return the parameters that a choice names, in the model's order."""
    return _CHOICES[trained](model)
