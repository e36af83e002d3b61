"""Running statistics of batch norm, estimated anew once weights have been merged."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

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
        UserError: its batch norm is instance-aware, or no batch has two images; the network is as
            before then.
    """
    if instance_aware_layers(backbone):
        raise UserError(
            "the running statistics of instance-aware batch norm cannot be estimated anew; average "
            "them with those of the other networks"
        )
    layers = [m for _, m in batch_norm_layers(backbone) if m.running_mean is not None]
    if not layers:
        return
    before = [copy.deepcopy(layer.state_dict()) for layer in layers]
    with _following(layers):
        seen = _estimate(backbone, layers, batches)
    if not seen:
        for layer, state in zip(layers, before, strict=True):
            layer.load_state_dict(state)
        raise UserError(
            "running statistics cannot be estimated anew: no batch of source images holds two or "
            "more; give it more images"
        )
    backbone.update_digest()


@contextlib.contextmanager
def _following(layers: list[_BatchNorm]) -> Iterator[None]:
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.train()
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
            layer.eval()


def _estimate(backbone: Backbone, layers: list[_BatchNorm], batches: Iterable[Tensor]) -> int:
    """Let running statistics be those of the batches; return how many images they had."""
    seen = 0
    for images in batches:
        if len(images) > 1:
            seen += len(images)
            for layer in layers:
                layer.momentum = len(images) / seen  # of the first batch 1: nothing stays
            backbone.features(images)
    return seen
