"""Running statistics of batch norm, estimated anew once weights have been merged."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from tta.backbones.backbone import Backbone
from tta.foundation.errors import UserError
from tta.ops.norm.batch_norm import batch_norm_layers
from tta.ops.norm.instance_aware import instance_aware_layers


@torch.no_grad()
def estimate_statistics(backbone: Backbone, batches: Iterable[Tensor]) -> None:
    """Let running means and variances be the means of those of all batches, in place.

    Batches count by their images; one of a single image is left out. A network without running
    statistics stays as it is.

    Args:
        backbone: in evaluation mode, as it is afterwards; its other weights stay.
        batches: of source images ``[B, 3, H, W]`` in [0, 1].

    Raises:
        UserError: its batch norm is instance-aware.
    """
    if instance_aware_layers(backbone):
        raise UserError(
            "the running statistics of instance-aware batch norm cannot be estimated anew; average "
            "them with those of the other networks"
        )
    layers = [m for _, m in batch_norm_layers(backbone) if m.running_mean is not None]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.train()
    seen = 0
    for images in batches:
        if len(images) > 1 and layers:
            seen += len(images)
            for layer in layers:
                layer.momentum = len(images) / seen
            backbone.features(images)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
        layer.eval()
    backbone.update_digest()
