"""A network of the user's that segments: where it is to be split, found by trial."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tta.backbones.dense.wrappers import DenseSplit, is_torchvisions, logits_of, wrapped
from tta.foundation.errors import WRONG_VALUES, UserError, did_you_mean
from tta.ops.maps import enlarged


@torch.no_grad()
def gives_maps(network: nn.Module, images: Tensor) -> bool:
    """Return whether a network's outputs are logits of pixels and not of images.

    Of one that cannot be run, who runs it next says so.
    """
    try:
        logits = logits_of(network(images))
    except WRONG_VALUES:
        return False
    return isinstance(logits, Tensor) and logits.dim() == 4 and logits[0, 0].numel() > 1


@torch.no_grad()
def split_dense(network: nn.Module, images: Tensor, name: str, split: str | None) -> nn.Module:
    """Return a network behind ``forward_features`` and ``get_classifier``.

    Of each convolution that might be the last, the output is replaced by random numbers; where the
    network returns these, enlarged bilinearly or as they are, no other layer has a part in it.

    Args:
        network: in evaluation mode; it gives maps ``[B, C, H, W]``, alone or as "out".
        images: ``[B, C, H, W]``, as the network takes them.
        name: of the network, for messages.
        split: the only layer to try.

    Raises:
        UserError: there is no such layer.
    """
    if is_torchvisions(network) and split is None:
        return wrapped(network)
    layers = {key: part for key, part in network.named_modules() if isinstance(part, nn.Conv2d)}
    if split is not None and split not in layers:
        raise UserError(
            f"split={split!r} is no convolution of model {name!r}; "
            f"{did_you_mean(split, list(layers)[-8:])}"
        )
    for key in [split] if split else reversed(layers):
        align_corners = _how_enlarged(network, images, layers[key])
        if align_corners is not None:
            return DenseSplit(network, key, align_corners)
    raise UserError(
        f"model {name!r} is refused: it gives maps, but its output is not that of one convolution, "
        f"as it is or enlarged bilinearly; its last are: {', '.join(list(layers)[-4:])}; take out "
        "what follows the layer (softmax, crops, a sum), and name it by split=..."
    )


def _how_enlarged(network: nn.Module, images: Tensor, layer: nn.Conv2d) -> bool | None:
    """Return ``align_corners`` of how a layer's output becomes the network's; None where not."""
    generator = torch.Generator().manual_seed(0)
    put: list[Tensor] = []

    def replace(_: nn.Module, given: Any, result: Tensor) -> Tensor:
        put.append(torch.randn(result.shape, generator=generator).to(result))
        return put[-1].clone()  # what follows may work in place

    handle = layer.register_forward_hook(replace)
    try:
        got = logits_of(network(images))
    finally:
        handle.remove()
    if not put or put[-1].shape[:2] != got.shape[:2]:
        return None
    size = tuple(got.shape[-2:])
    for align_corners in (False, True):
        if torch.allclose(enlarged(put[-1], size, align_corners), got, rtol=1e-4, atol=1e-5):
            return align_corners
    return None
