"""Snapshots of what a method changes, as tensors and plain values only."""

from __future__ import annotations

import copy
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class Stateful(Protocol):
    """A module, an optimiser or a source stream: anything that can save and load itself."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> Any: ...


def capture(value: Any) -> Any:
    """Return an independent copy of ``value`` that ``torch.load(weights_only=True)`` accepts."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, torch.Generator):
        return value.get_state()
    if isinstance(value, list):
        return [capture(item) for item in value]
    if isinstance(value, Stateful):
        return copy.deepcopy(value.state_dict())
    return copy.deepcopy(value)


@torch.no_grad()
def restore(current: Any, captured: Any) -> Any:
    """Return ``captured`` put into ``current``: in place wherever the object can take it.

    In place matters: an optimiser holds the very parameters, a module the very buffers.
    """
    if isinstance(current, Tensor) and isinstance(captured, Tensor):
        if current.shape == captured.shape:
            return current.copy_(captured)
        return captured.to(current.device, copy=True)
    if isinstance(current, torch.Generator):
        current.set_state(captured.cpu())
        return current
    if isinstance(current, list) and isinstance(captured, list) and len(current) == len(captured):
        return [restore(*pair) for pair in zip(current, captured, strict=True)]
    if isinstance(current, Stateful):
        current.load_state_dict(copy.deepcopy(captured))
        if isinstance(current, torch.optim.Optimizer):
            _settings_to_device(current)
        return current
    return copy.deepcopy(captured)


def _settings_to_device(optimizer: torch.optim.Optimizer) -> None:
    """Put tensors among the settings, such as a loss scale, beside the parameters again.

    ``load_state_dict`` leaves them where the state was loaded.
    """
    for group in optimizer.param_groups:
        device = group["params"][0].device
        tensors = {name: value for name, value in group.items() if isinstance(value, Tensor)}
        group.update({name: value.to(device) for name, value in tensors.items()})


def captured_bytes(captured: Any) -> int:
    """Return the bytes of all tensors in a captured value."""
    if isinstance(captured, Tensor):
        return captured.nbytes
    if isinstance(captured, dict):
        return sum(captured_bytes(value) for value in captured.values())
    if isinstance(captured, list | tuple):
        return sum(captured_bytes(value) for value in captured)
    return 0
