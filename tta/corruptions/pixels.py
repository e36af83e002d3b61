"""From real-valued grey levels to the bytes that the official scripts store."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def truncate(levels: Tensor) -> Tensor:
    """Clip grey levels to 0 .. 255, in place, and drop the fraction, as ``numpy.uint8`` does."""
    levels.clamp_(0, 255)
    if levels.device.type == "cpu":  # numpy converts twice as fast as torch
        return torch.from_numpy(levels.numpy().astype(np.uint8))
    return levels.to(torch.uint8)
