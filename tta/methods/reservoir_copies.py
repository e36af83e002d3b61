"""What ReservoirTTA keeps of the method inside, once for each style, and how it is put back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tta.methods.base import Method
from tta.methods.state import capture, restore

Copy = dict[str, Any]
"""Parts of a method's state, by name of attribute: plain values and tensors."""
_OWN = (Tensor, nn.Module, torch.optim.Optimizer)
_WEIGHTS = (nn.Parameter, nn.Module)


def copy_of(method: Method) -> Copy:
    """Return what a method trains, its optimiser and running tensors; no memories, no streams."""
    parts = {name: getattr(method, name) for name in method.state}
    return {name: capture(part) for name, part in parts.items() if isinstance(_first(part), _OWN)}


@torch.no_grad()
def take(method: Method, stored: Copy) -> None:
    """Make a method, in place, what :func:`copy_of` had returned."""
    for name, value in stored.items():
        setattr(method, name, restore(getattr(method, name), value))


def averaged(method: Method, copies: Sequence[Copy], shares: Tensor, nearest: int) -> Copy:
    """Return the nearest copy with the weights of all, averaged by their shares ``[K]``."""
    return {
        name: _mean([copy[name] for copy in copies], shares)
        if isinstance(_first(getattr(method, name)), _WEIGHTS)
        else value
        for name, value in copies[nearest].items()
    }


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) and value else value


def _mean(values: list[Any], shares: Tensor) -> Any:
    """Return the weighted mean of equal lists or mappings of tensors; of counters, the first's."""
    first = values[0]
    if isinstance(first, list):
        return [_mean(list(part), shares) for part in zip(*values, strict=True)]
    if isinstance(first, dict):
        return {name: _mean([value[name] for value in values], shares) for name in first}
    if not (isinstance(first, Tensor) and first.is_floating_point()):
        return first
    return torch.tensordot(shares.to(first.dtype), torch.stack(values), 1)
