"""Sharpness-aware minimisation: the gradient is taken at the worst point nearby."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from tta.ops.loss_scaling import scaled, step_unscaled


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


def descend_sharply(
    optimizer: Optimizer,
    parameters: Sequence[nn.Parameter],
    loss: Callable[[], Tensor],
    radius: float,
) -> None:
    """Take one step down the gradient of ``loss`` at the worst point within ``radius``.

    Foret et al., ICLR 2021, algorithm 1.

    Args:
        optimizer: of the parameters.
        parameters: what is moved uphill and back, all that the optimiser holds.
        loss: computes it anew, a scalar, where the parameters are; called twice.
        radius: see :func:`climb`.
    """
    _differentiate(optimizer, loss)
    before = climb(parameters, radius)
    _differentiate(optimizer, loss)
    with torch.no_grad():
        torch._foreach_copy_(parameters, before)
    step_unscaled(optimizer)


def _differentiate(optimizer: Optimizer, loss: Callable[[], Tensor]) -> None:
    optimizer.zero_grad(set_to_none=True)
    scaled(optimizer, loss()).backward()
