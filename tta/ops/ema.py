"""Exponential moving averages over lists of tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


@torch.no_grad()
def ema_update(average: Sequence[Tensor], current: Sequence[Tensor], decay: float | Tensor) -> None:
    """Update in place: ``average <- decay * average + (1 - decay) * current``.

    Make both lists once, outside the loop: collecting parameters costs more than the update. A
    ``decay`` that the device has computed is a 0-dimensional tensor; the host does not wait.
    """
    average, current = list(average), list(current)
    if isinstance(decay, float):
        torch._foreach_lerp_(average, current, 1.0 - decay)
        return
    moves = torch._foreach_sub(current, average)
    torch._foreach_mul_(moves, 1.0 - decay)
    torch._foreach_add_(average, moves)
