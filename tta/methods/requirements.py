"""Whether a backbone and the data at hand give a method what it needs."""

from __future__ import annotations

from typing import Any

from torch import nn

from tta.errors import UserError
from tta.methods.base import Method, Need
from tta.ops.batch_norm import batch_norm_layers
from tta.ops.parameters import norm_affine_parameters

SOURCE_NEEDS = {Need.SOURCE_AT_PREPARE, Need.SOURCE_AT_STEP, Need.SOURCE_LABELS}


def check_needs(method: type[Method], params: Any, backbone: nn.Module, has_source: bool) -> None:
    """Refuse a run whose method lacks something, before the stream starts.

    Raises:
        UserError: naming what is missing and a way to provide it.
    """
    needs = method.needs(params)
    if Need.BATCH_NORM in needs and not any(True for _ in batch_norm_layers(backbone)):
        raise UserError(
            f"method {method.name!r} needs batch-norm layers and backbone {backbone.name!r} has "
            "none; choose a backbone with batch norm (resnet50) or another method (tent)"
        )
    if Need.NORM_AFFINE in needs and not norm_affine_parameters(backbone):
        raise UserError(
            f"method {method.name!r} trains the affine parameters of normalisation layers and "
            f"backbone {backbone.name!r} has none; choose another backbone, or method 'source'"
        )
    if needs & SOURCE_NEEDS and not has_source:
        raise UserError(
            f"method {method.name!r} needs source images; pass --source NAME, "
            "arrays:PATH.npz or folder:PATH"
        )
