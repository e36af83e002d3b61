"""Snapshots of what a method changes, as tensors and plain values only."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class Stateful(Protocol):
    """A module, an optimiser or a source stream: anything that can save and load itself."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> Any: ...


_PLACE = "on the device"
"""The key of a tensor that :func:`park` has brought to the host, alone in its mapping."""


def capture(value: Any, parked: bool = False) -> Any:
    """Return an independent copy of ``value`` that ``torch.load(weights_only=True)`` accepts.

    Args:
        value: a tensor, a generator, what saves itself, plain values, or a list of these.
        parked: keep in host memory what is on another device, see :func:`park`.
    """
    if isinstance(value, Tensor):
        value = value.detach()
        return park(value) if parked and not value.is_cpu else value.clone()
    if isinstance(value, torch.Generator):
        return value.get_state()
    if isinstance(value, list):
        return [capture(item, parked) for item in value]
    state = value.state_dict() if isinstance(value, Stateful) else value
    return copy.deepcopy(park(state) if parked else state)


def park(captured: Any) -> Any:
    """Return a captured value with all tensors in host memory; what was there stays itself.

    :func:`restore` finds out again which were on the device: some are not, such as an optimiser's
    count of steps.
    """
    if isinstance(captured, Tensor):
        return captured if captured.is_cpu else {_PLACE: captured.detach().cpu()}
    return _over_tensors(park, captured)


def unpark(captured: Any, device: torch.device) -> Any:
    """Return a value that :func:`park` has made, with tensors on ``device`` again."""
    if isinstance(captured, dict) and captured.keys() == {_PLACE}:
        return captured[_PLACE].to(device)
    return _over_tensors(lambda value: unpark(value, device), captured)


def _over_tensors(act: Callable[[Any], Any], captured: Any) -> Any:
    """Return a captured value with the parts of every list and mapping replaced."""
    if isinstance(captured, dict):
        made = copy.copy(captured)  # a module's state carries versions beside its tensors
        made.update({name: act(value) for name, value in captured.items()})
        return made
    if type(captured) in (list, tuple):
        return type(captured)(act(value) for value in captured)
    return captured


@torch.no_grad()
def restore(current: Any, captured: Any) -> Any:
    """Return ``captured`` put into ``current``: in place wherever the object can take it.

    In place matters: an optimiser holds the very parameters, a module the very buffers.
    """
    if isinstance(current, Tensor) and isinstance(captured, Tensor):
        captured = captured.to(current.device)
        if current.shape == captured.shape:
            return current.copy_(captured)
        return captured.clone()
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
