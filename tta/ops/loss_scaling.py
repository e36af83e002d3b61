"""Loss scaling: keeps the gradients of float16 activations within float16's range.

What ``torch.amp.GradScaler`` does, without its wait for the device in every step: the fused
optimiser kernels themselves leave a step out whose gradients are not finite. The scale lives in
the optimiser's parameter groups, so that it is saved, loaded and reset with the optimiser.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer

from tta.foundation.errors import UserError

INITIAL_SCALE = 2.0**12
GROWTH_FACTOR, BACKOFF_FACTOR, GROWTH_INTERVAL = 2.0, 0.5, 2000


def scale_losses(optimizer: Optimizer) -> None:
    """Let ``optimizer`` take scaled losses from now on; call it before its first step.

    Raises:
        UserError: the optimiser has no fused kernel.
    """
    if "fused" not in optimizer.defaults:
        raise UserError(
            f"--precision fp16 needs an optimiser with a fused kernel, such as Adam or SGD, and "
            f"{type(optimizer).__name__} has none; use --precision bf16"
        )
    for group in optimizer.param_groups:
        group["fused"], group["foreach"] = True, False
        # A fused SGD leaves them unset where its first step is left out. With dampening, its first
        # step is not the one from zero.
        if group.get("momentum") and not group.get("dampening"):
            for parameter in group["params"]:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    group = optimizer.param_groups[0]
    some = group["params"][0]
    group["loss_scale"] = some.new_full((), INITIAL_SCALE, dtype=torch.float32)
    group["steps_since_growth"] = some.new_zeros((), dtype=torch.int32)


def scaled(optimizer: Optimizer, loss: Tensor) -> Tensor:
    """Return ``loss``, scaled if ``optimizer`` takes scaled losses."""
    scale = optimizer.param_groups[0].get("loss_scale")
    return loss if scale is None else loss * scale


def unscaled_gradients(
    optimizer: Optimizer, loss: Tensor, parameters: Sequence[Tensor], retain_graph: bool = False
) -> list[Tensor]:
    """Return the gradients of ``loss`` itself; scaled on the way if ``optimizer`` takes that.

    Args:
        optimizer: whose scale it is.
        loss: a scalar.
        parameters: gradients of those that it does not depend on are zeros.
        retain_graph: whether there will be another backward pass.
    """
    gradients = torch.autograd.grad(
        scaled(optimizer, loss), parameters, retain_graph=retain_graph, materialize_grads=True
    )
    scale = optimizer.param_groups[0].get("loss_scale")
    return list(gradients if scale is None else torch._foreach_div(list(gradients), scale))


def scale_state(optimizer: Optimizer) -> dict[str, Tensor]:
    """Return what the first parameter group holds of its scale; nothing without scaling."""
    group = optimizer.param_groups[0]
    return {name: group[name] for name in ("loss_scale", "steps_since_growth") if name in group}


@torch.no_grad()
def step_unscaled(*optimizers: Optimizer) -> None:
    """Take a step down the gradients of a loss :func:`scaled` for the first optimiser.

    Where one of them is not finite, nothing moves and the scale is halved; it is doubled after
    2000 finite steps.
    """
    group = optimizers[0].param_groups[0]
    scale = group.get("loss_scale")
    if scale is None:
        for optimizer in optimizers:
            optimizer.step()
        return
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    parameters = [parameter for group in groups for parameter in group["params"]]
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    overflow = scale.new_zeros(())
    torch._amp_foreach_non_finite_check_and_unscale_(gradients, overflow, scale.reciprocal())
    for optimizer in optimizers:
        optimizer.found_inf = overflow  # where the fused kernels look for it
        optimizer.step()
    torch._amp_update_scale_(
        scale,
        group["steps_since_growth"],
        overflow,
        GROWTH_FACTOR,
        BACKOFF_FACTOR,
        GROWTH_INTERVAL,
    )
