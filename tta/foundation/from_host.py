"""What the host has, sent to the device."""

from __future__ import annotations

import torch
from torch import Tensor


def from_host(values: Tensor, device: torch.device) -> Tensor:
    """Return a host tensor on ``device``; on CUDA nothing waits for that.

    Copies are made in the background from page-locked memory to CUDA alone: elsewhere the host may
    write to the memory, or read from it, before the copy is over. From memory of other kinds the
    host would wait until CUDA has done all it was given to do.
    """
    if device.type != "cuda" or values.is_cuda:
        return values.to(device)
    locked = values if values.is_pinned() else values.pin_memory()
    return locked.to(device, non_blocking=True)
