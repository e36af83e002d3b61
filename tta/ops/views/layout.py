"""How images lie in memory."""

from __future__ import annotations

import torch
from torch import Tensor


def memory_format_of(images: Tensor) -> torch.memory_format:
    """Return the layout that ``images`` ``[B, C, H, W]`` have."""
    if images.is_contiguous():
        return torch.contiguous_format
    channels_last = images.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if channels_last else torch.contiguous_format
