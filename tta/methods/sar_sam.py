"""Sharpness-aware minimisation: the gradient is taken at the worst point nearby."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


@torch.no_grad()
def climb(parameters: Sequence[nn.Parameter], radius: float) -> list[Tensor]:
    """Move ``parameters`` in place by ``radius`` along their joint gradient, uphill.

    Foret et al., "Sharpness-aware minimization", ICLR 2021, eq. 2. A parameter without a
    gradient stays where it is; where the gradient is zero, or not finite, all do.

    Args:
        parameters: after a backward pass.
        radius: length of the move over all parameters together (L2).

    Returns:
        Copies of the values before, to put back with ``torch._foreach_copy_`` before the step.
    """
    before = [parameter.detach().clone() for parameter in parameters]
    moved = [parameter for parameter in parameters if parameter.grad is not None]
    gradients = [parameter.grad for parameter in moved]
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    finite = norm.isfinite()  # it is not where float16 overflows; then the step is left out too
    moves = torch._foreach_mul(gradients, radius / (norm + 1e-12))
    torch._foreach_add_(moved, [move.where(finite, 0) for move in moves])
    return before
