"""From real-valued grey levels to the bytes that the official scripts store."""

from __future__ import annotations

import torch
from torch import Tensor


def truncate(levels: Tensor) -> Tensor:
    """Clip grey levels to 0 .. 255 and drop the fraction, as ``numpy.uint8`` does."""
    return levels.clamp(0, 255).to(torch.uint8)
