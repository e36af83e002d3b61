"""Torchvision's networks under timm's names, proved on the weights at hand by equal outputs."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

_SAME = {
    "convnext_tiny": "convnext_tiny",
    "convnext_small": "convnext_small",
    "convnext_base": "convnext_base",
    "convnext_large": "convnext_large",
    "vit_base_patch16_224": "vit_b_16",
    "vit_base_patch32_224": "vit_b_32",
    "vit_large_patch16_224": "vit_l_16",
    "vit_large_patch32_224": "vit_l_32",
    "vit_huge_patch14_224": "vit_h_14",
    "swin_tiny_patch4_window7_224": "swin_t",
    "swin_small_patch4_window7_224": "swin_s",
    "swin_base_patch4_window7_224": "swin_b",
    **{f"efficientnet_b{size}": f"efficientnet_b{size}" for size in range(8)},
    "efficientnetv2_s": "efficientnet_v2_s",
    "efficientnetv2_m": "efficientnet_v2_m",
    "efficientnetv2_l": "efficientnet_v2_l",
    "mobilenetv2_100": "mobilenet_v2",
    "mobilenetv3_small_100": "mobilenet_v3_small",
    "mobilenetv3_large_100": "mobilenet_v3_large",
    "mnasnet_050": "mnasnet0_5",
    "mnasnet_075": "mnasnet0_75",
    "mnasnet_100": "mnasnet1_0",
}
"""Architectures of timm that torchvision has under other key names, by theirs.

ResNets, ResNeXts and DenseNets have the same key names in both; timm itself converts those of
RegNets and VGGs.
"""
_TOLERANCE = 1e-4  # of the outputs' standard deviation; most are equal to the bit


class FromTorchvision(NamedTuple):
    """Tensors by timm's names.

    Attributes:
        name: torchvision's of the network.
        tensors: by timm's names.
        eps: see ``tta.backbones.key_names.Converted``.
    """

    name: str
    tensors: dict[str, Tensor]
    eps: dict[str, float]


def from_torchvision(
    tensors: Mapping[str, Tensor], model: nn.Module, architecture: str
) -> FromTorchvision | None:
    """Return torchvision's weights of an architecture by timm's names.

    Both have tensors of one shape in the same order. That this maps them rightly is not taken on
    trust: torchvision's network and timm's get the weights and must give the same outputs.

    Args:
        tensors: by torchvision's names.
        model: the timm model, which is left as it is.
        architecture: its name.

    Returns:
        None where these are not torchvision's names, or the outputs differ.
    """
    name = _SAME.get(architecture.partition(".")[0])
    theirs = name and _theirs(name, tensors)
    if not theirs:
        return None
    names = _pair_up(tensors, model.state_dict())
    if names is None:
        return None
    trial = copy.deepcopy(model).eval()
    state = {
        key: value if key not in names else tensors[names[key]].reshape(value.shape)
        for key, value in model.state_dict().items()
    }
    trial.load_state_dict(state)
    eps = _take_eps(trial, theirs, names)
    return FromTorchvision(name, state, eps) if _same_outputs(trial, theirs) else None


def _theirs(name: str, tensors: Mapping[str, Tensor]) -> nn.Module | None:
    """Return torchvision's network with these weights; None where they are not its own."""
    import torchvision

    outputs = list(tensors.values())[-1]
    classes = outputs.shape[0] if outputs.dim() else 1
    with torch.device("meta"):  # no random weights are drawn
        model = torchvision.models.get_model(name, weights=None, num_classes=classes)
    expected = model.state_dict()
    given = {key: _widened(value) for key, value in tensors.items()}
    for key in expected:
        if key.endswith("num_batches_tracked"):
            given.setdefault(key, torch.tensor(0))
    if given.keys() != expected.keys() or any(
        given[key].shape != value.shape for key, value in expected.items()
    ):
        return None
    expected.update(given)  # keeps the versions of layers, which some of them ask for
    model.load_state_dict(expected, assign=True)
    return model.eval()


def _widened(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value


def _pair_up(theirs: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> dict[str, str] | None:
    """Return their name by ours: the k-th of a shape goes with the k-th, sides of 1 left out."""
    waiting: defaultdict[tuple[int, ...], list[str]] = defaultdict(list)
    for key, value in reversed(theirs.items()):
        if _is_weight(key, value):
            waiting[_shape(value)].append(key)
    names = {}
    for key, value in ours.items():
        if _is_weight(key, value):
            if not waiting[_shape(value)]:
                return None
            names[key] = waiting[_shape(value)].pop()
    return None if any(waiting.values()) else names


def _is_weight(key: str, value: Tensor) -> bool:
    return value.is_floating_point() and not key.endswith("num_batches_tracked")


def _shape(value: Tensor) -> tuple[int, ...]:
    return tuple(side for side in value.shape if side != 1)


def _take_eps(ours: nn.Module, theirs: nn.Module, names: Mapping[str, str]) -> dict[str, float]:
    """Give the layers of ``ours`` the eps of those that their weights are from; return changes."""
    changed = {}
    for key, their_key in names.items():
        layer_name = key.rpartition(".")[0]
        layer = ours.get_submodule(layer_name)
        eps = getattr(theirs.get_submodule(their_key.rpartition(".")[0]), "eps", None)
        if eps is not None and getattr(layer, "eps", eps) != eps:
            layer.eps = changed[layer_name] = eps
    return changed


@torch.no_grad()
def _same_outputs(ours: nn.Module, theirs: nn.Module) -> bool:
    size = ours.pretrained_cfg["input_size"]
    images = torch.rand(2, *size, generator=torch.Generator().manual_seed(0)) * 4 - 2
    expected = theirs(images)
    difference = (ours(images) - expected).abs().max()
    return bool(difference <= _TOLERANCE * expected.std())
