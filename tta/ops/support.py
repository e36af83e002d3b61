"""Bounded memories: the best members of every class, or the latest of all."""

from __future__ import annotations

import torch
from torch import Tensor


def least_per_class(held: Tensor, arriving: Tensor, labels: Tensor) -> Tensor:
    """Return which members each class keeps: the ones of least value.

    Args:
        held: values of the members that the classes hold, ``[C, M]``; infinite in empty slots.
        arriving: values of new members ``[B]``.
        labels: classes of the new members ``[B]``.

    Returns:
        Positions ``[C, M]`` in ``cat([held.flatten(), arriving])``, of ascending value in each
        row. Of equal values the one held longer stays; empty slots are kept last.
    """
    classes, slots = held.shape
    values = torch.cat([held.flatten(), arriving])
    owners = torch.arange(classes, device=held.device)
    owner = torch.cat([owners.repeat_interleave(slots), labels])
    order = values.argsort(stable=True)
    order = order[owner[order].argsort(stable=True)]
    arrivals = (labels[:, None] == owners).sum(0)
    first = owners * slots + arrivals.cumsum(0) - arrivals
    return order[first[:, None] + torch.arange(slots, device=held.device)]


def ring_write(store: Tensor, rows: Tensor, seen: int) -> None:
    """Write the latest ``rows`` ``[B, ...]`` over the oldest of ``store`` ``[K, ...]``, in place.

    Args:
        store: the memory; of more than K rows the last K stay.
        rows: what arrives.
        seen: how many rows have been written before.
    """
    size = len(store)
    kept = rows[-size:]
    start = seen + len(rows) - len(kept)
    store[torch.arange(start, start + len(kept), device=store.device) % size] = kept
