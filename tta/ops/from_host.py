"""What the host has decided, sent to the device."""

from __future__ import annotations

import torch
from torch import Tensor


def from_host(values: Tensor, device: torch.device) -> Tensor:
    """Return host values on ``device``; nothing waits for that."""
    if device.type == "cuda":  # from any other memory the host would wait
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)
