"""Any network that ends in a linear layer, split into features and that layer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from tta.foundation.errors import WRONG_VALUES, UserError, did_you_mean, message_of


class SplitModel(nn.Module):
    """A network behind timm's ``forward_features``, ``forward_head`` and ``get_classifier``.

    Features are what the network hands to its last layer, read there while the network runs.

    Args:
        network: used as it is, and not copied.
        split: name of the last layer in ``network``, such as ``fc`` or ``heads.head``.
    """

    def __init__(self, network: nn.Module, split: str) -> None:
        super().__init__()
        self.network = network
        self.split = split

    def get_classifier(self) -> nn.Module:
        """Return the last layer."""
        return self.network.get_submodule(self.split)

    def forward_features(self, images: Tensor) -> Tensor:
        """Return what the last layer is given."""
        taken: list[Tensor] = []
        layer = self.get_classifier()
        with _hook(layer.register_forward_pre_hook(lambda _, given: taken.append(given[0]))):
            self.network(images)
        return taken[-1]  # a layer that is called twice gives the output at its last call

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Return logits of features, or the features as they are."""
        return features if pre_logits else self.get_classifier()(features)

    def forward(self, images: Tensor) -> Tensor:
        """Return what the network returns."""
        return self.network(images)


@torch.no_grad()
def find_split(network: nn.Module, images: Tensor, name: str, split: str | None = None) -> str:
    """Return the name of the layer whose output is the network's, by trial.

    Layers are the linear ones and 1x1 convolutions. Of each that might be the last, the output is
    replaced by random numbers; where the network returns these, nothing but a reshaping follows
    the layer, and no other layer has a part in the output.

    Args:
        network: in evaluation mode.
        images: ``[B, C, H, W]``, as the network takes them.
        name: of the network, for messages.
        split: the only layer to try.

    Raises:
        UserError: there is no such layer, or the network cannot be run or does not return logits.
    """
    layers = {key: part for key, part in network.named_modules() if _is_linear(part)}
    if split is not None and split not in layers:
        raise _no_such_layer(network, name, split, layers)
    calls, output = _run(network, images, layers, name)
    for key, (given, numbers) in reversed(calls.items()):
        possible = split in (None, key) and numbers == output.numel()
        if possible and _is_last(network, images, layers[key], output):
            _check_input(given, name, key)
            return key
    raise _not_found(name, split, output, layers)


def _is_linear(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear) or (
        isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1) and layer.groups == 1
    )


@contextlib.contextmanager
def _hook(*handles: Any) -> Iterator[None]:
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _run(
    network: nn.Module, images: Tensor, layers: dict[str, nn.Module], name: str
) -> tuple[dict[str, tuple[Any, int]], Tensor]:
    """Return input and size of output of each layer, by its last call; the network's output."""
    calls: dict[str, tuple[Any, int]] = {}

    def note(key: str, given: tuple[Any, ...], result: Tensor) -> None:
        calls.pop(key, None)
        calls[key] = (given[0] if given else None), result.numel()

    handles = [
        layer.register_forward_hook(lambda _, given, out, key=key: note(key, given, out))
        for key, layer in layers.items()
    ]
    with _hook(*handles):
        try:
            output = network(images)
        except WRONG_VALUES as error:
            size = "x".join(map(str, images.shape[1:]))
            raise UserError(
                f"model {name!r} fails on images of {size} ({message_of(error)[:200]}); pass the "
                "input_size=(C, H, W) that it takes"
            ) from error
    if not isinstance(output, Tensor):
        raise UserError(
            f"model {name!r} returns a {type(output).__name__}, and one tensor of logits [B, C] "
            "is expected; wrap it in a module whose forward returns the logits alone"
        )
    return calls, output


def _is_last(network: nn.Module, images: Tensor, layer: nn.Module, output: Tensor) -> bool:
    """Return whether the network returns what is put in the place of the layer's output."""
    generator = torch.Generator().manual_seed(0)
    put: list[Tensor] = []

    def replace(_: nn.Module, given: Any, result: Tensor) -> Tensor:
        put.append(torch.randn(result.shape, generator=generator).to(result))
        return put[-1].clone()  # what follows may work in place

    with _hook(layer.register_forward_hook(replace)):
        got = network(images)
    last = put[-1]
    return got.shape == output.shape and got.numel() == last.numel() and _same(got, last)


def _same(got: Tensor, put: Tensor) -> bool:
    return len(got) == len(put) and torch.equal(got.flatten(1), put.flatten(1))


def _check_input(given: Any, name: str, split: str) -> None:
    """Refuse a last layer that sees more than one vector of an image."""
    if isinstance(given, Tensor) and given.dim() in (2, 4) and given[0].numel() == given.shape[1]:
        return
    shape = list(given.shape) if isinstance(given, Tensor) else "by keyword"
    raise UserError(
        f"model {name!r} is refused: its last layer {split!r} is given {shape}, and features "
        "[B, D] are expected; flatten them before that layer, and give it nothing by keyword"
    )


def _no_such_layer(
    network: nn.Module, name: str, split: str, layers: dict[str, nn.Module]
) -> UserError:
    found = dict(network.named_modules()).get(split)
    kind = f"is a {type(found).__name__}" if found is not None else "is not there"
    known = did_you_mean(split, list(layers)[-8:]) if layers else "it has none"
    return UserError(
        f"split={split!r} {kind} in model {name!r}; name its last layer, a Linear or a 1x1 "
        f"Conv2d: {known}"
    )


def _not_found(
    name: str, split: str | None, output: Tensor, layers: dict[str, nn.Module]
) -> UserError:
    cure = (
        "take out what follows the layer (softmax, a scale, an average with another layer), so "
        "that the model returns its logits"
    )
    shape = list(output.shape)
    if split is not None:
        return UserError(
            f"model {name!r} is refused: its output {shape} is not that of layer split={split!r}; "
            f"name another layer, or {cure}"
        )
    seen = ", ".join(list(layers)[-4:]) or "none"
    return UserError(
        f"model {name!r} is refused: it does not end in a linear layer (a Linear or a 1x1 Conv2d, "
        f"called as a module) whose output is the model's, {shape}; its last such layers are: "
        f"{seen}; {cure}, and name that layer by split=..."
    )
