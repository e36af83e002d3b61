"""Adapters of ViDA: a low-rank and a high-rank branch beside the linear layers of attention."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from tta.backbones.state_dicts import state_dicts
from tta.ops.generators import seeded_layers

LOW_RANK = 1
HIGH_RANK = 128
"""As published."""
MARK = "vida_"
"""What the names of their parameters have, and no others."""


class AdaptedLinear(nn.Module):
    """A linear layer with two branches of two layers each: ``W x + s1 U1 D1 x + s2 U2 D2 x``.

    Liu et al., "ViDA", ICLR 2024. Names of parameters are those of the published checkpoints. U
    is zero at first, so that nothing changes; D is drawn from the global generator.

    Attributes:
        scales: s1 and s2 ``[2]``; set by who adapts, and no weights.

    Args:
        layer: in whose place it stands.
        low: rank of the first branch.
        high: rank of the second.
    """

    scales: Tensor

    def __init__(self, layer: nn.Linear, low: int, high: int) -> None:
        super().__init__()
        size = {"bias": False, "device": layer.weight.device}
        self.linear_vida = layer
        self.vida_down = nn.Linear(layer.in_features, low, **size)
        self.vida_up = nn.Linear(low, layer.out_features, **size)
        self.vida_down2 = nn.Linear(layer.in_features, high, **size)
        self.vida_up2 = nn.Linear(high, layer.out_features, **size)
        for down, up in ((self.vida_down, self.vida_up), (self.vida_down2, self.vida_up2)):
            nn.init.normal_(down.weight, std=1 / down.out_features**2)
            nn.init.zeros_(up.weight)
        self.register_buffer("scales", layer.weight.new_ones(2), persistent=False)
        self.requires_grad_(False).eval()

    def forward(self, x: Tensor) -> Tensor:
        low = self.vida_up(self.vida_down(x)) * self.scales[0]
        return self.linear_vida(x) + low + self.vida_up2(self.vida_down2(x)) * self.scales[1]


def adapted_layers(model: nn.Module) -> list[AdaptedLinear]:
    """Return the layers with adapters, none if the model has none."""
    return [layer for layer in model.modules() if isinstance(layer, AdaptedLinear)]


def insert_adapters(
    model: nn.Module, low: int = LOW_RANK, high: int = HIGH_RANK, seed: int = 0
) -> bool:
    """Put adapters into the attention of a vision transformer, in place.

    Args:
        model: of timm.
        low: rank of the low-rank branches.
        high: rank of the others.
        seed: of their weights.

    Returns:
        whether there was any layer of attention to put them in.
    """
    places = [
        (attention, name)
        for attention in (getattr(block, "attn", None) for block in getattr(model, "blocks", []))
        if attention is not None
        for name, layer in attention.named_children()
        if isinstance(layer, nn.Linear)
    ]
    with seeded_layers(seed):
        for attention, name in places:
            setattr(attention, name, AdaptedLinear(getattr(attention, name), low, high))
    return bool(places)


def adapter_ranks(content: Any) -> tuple[int, int] | None:
    """Return the ranks of the adapters in a checkpoint's content; None where it has none."""
    for state in state_dicts(content):
        for name, low in state.tensors.items():
            high = state.tensors.get(name.replace("vida_down.", "vida_down2."))
            if name.endswith("vida_down.weight") and high is not None:
                return len(low), len(high)
    return None
