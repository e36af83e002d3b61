"""Exponential moving averages over lists of tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


@torch.no_grad()
def ema_update(average: Sequence[Tensor], current: Sequence[Tensor], decay: float) -> None:
    """Update in place: ``average <- decay * average + (1 - decay) * current``.

    Make both lists once, outside the loop: collecting parameters costs more than the update.
    """
    torch._foreach_lerp_(list(average), [tensor.detach() for tensor in current], 1.0 - decay)
