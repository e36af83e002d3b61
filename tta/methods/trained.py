"""Which parameters the methods that train a whole network take for it."""

from __future__ import annotations

from torch import nn

from tta.backbones.backbone import Backbone
from tta.ops.parameters import all_parameters, weights_and_biases

_CHOICES = {"all": all_parameters, "weights_and_biases": weights_and_biases}


def trained_parameters(model: nn.Module, trained: str) -> list[nn.Parameter]:
    """Return the parameters that a choice of ``trained_param`` names, in the model's order."""
    return _CHOICES[trained](model)


def feature_parameters(backbone: Backbone) -> list[nn.Parameter]:
    """Return all parameters but the classifier's, in the model's order."""
    head = set(backbone.classifier.parameters())
    return [parameter for parameter in backbone.parameters() if parameter not in head]
