"""What ReservoirTTA keeps of the method inside, once for each style, and how it is put back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tta.methods.base import Method
from tta.methods.state import capture, restore
from tta.source.source_data import SourceBatches

Copy = dict[str, Any]
"""Parts of a method's state, by name of attribute: plain values and tensors."""
_OWN = (Tensor, nn.Module, torch.optim.Optimizer)
_WEIGHTS = (nn.Parameter, nn.Module)


def learns(method: Method) -> bool:
    """Return whether a method learns from batch to batch by an optimiser.

    What goes back to its start with every batch, or keeps courses of its own, is none of these.
    """
    parts = [getattr(method, name, None) for name in method.state]  # some come with the source
    trains = any(
        learns(part) if isinstance(part, Method) else isinstance(part, torch.optim.Optimizer)
        for part in parts
    )
    return trains and not method.resets_often


def copy_of(method: Method, memories: bool = True) -> Copy:
    """Return what a method has learned and keeps; the place in a source stream is no part of it.

    Args:
        method: of which a copy is taken.
        memories: take all of its state; else what it trains, its optimiser and running tensors.
    """
    parts = {name: getattr(method, name) for name in method.state}
    inside = {
        name: copy_of(part, memories) for name, part in parts.items() if isinstance(part, Method)
    }
    own = {
        name: part
        for name, part in parts.items()
        if name not in inside and _is_own(_first(part), memories)
    }
    return {name: capture(part) for name, part in own.items()} | inside


def _is_own(part: Any, memories: bool) -> bool:
    return not isinstance(part, SourceBatches) if memories else isinstance(part, _OWN)


@torch.no_grad()
def take(method: Method, stored: Copy) -> None:
    """Make a method, in place, what :func:`copy_of` had returned."""
    for name, value in stored.items():
        live = getattr(method, name)
        if isinstance(live, Method):
            take(live, value)
        else:
            setattr(method, name, restore(live, value))


def averaged(method: Method, copies: Sequence[Copy], shares: Tensor, nearest: int) -> Copy:
    """Return the nearest copy with the weights of all, averaged by their shares ``[K]``."""
    found = dict(copies[nearest])
    for name in found:
        live, stored = getattr(method, name), [copy[name] for copy in copies if name in copy]
        if isinstance(live, Method):
            found[name] = averaged(live, stored, shares, nearest)
        elif isinstance(_first(live), _WEIGHTS):
            found[name] = _mean(stored, shares)
    return found


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
