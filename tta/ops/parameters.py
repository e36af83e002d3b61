"""Which parameters a method trains: chosen by module type, never by parameter name."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

NORM_TYPES = (_BatchNorm, _InstanceNorm, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)


def norm_affine_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Return the affine parameters that normalisation layers own, each once, in module order."""
    found: dict[nn.Parameter, None] = {}
    for module in model.modules():
        if isinstance(module, NORM_TYPES):
            found.update(dict.fromkeys(module.parameters(recurse=False)))
    return list(found)


def all_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Return every parameter of the model, class tokens and position embeddings included."""
    return list(model.parameters())
