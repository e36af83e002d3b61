"""The diagonal of the Fisher information: how much predictions hang on each parameter."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def diagonal_fisher(
    model: Callable[[Tensor], Tensor], parameters: list[nn.Parameter], groups: Iterable[Tensor]
) -> Tensor:
    """Return the mean over ``groups`` of the squared gradient of each group's loss, flattened.

    The loss is the mean cross-entropy against the model's own predicted classes. With groups of
    one image this is the mean over images of EATA (Niu et al., ICML 2022), eq. 9. Gradients of
    larger groups partly cancel before they are squared, so the result shrinks as groups grow.

    Args:
        model: images ``[B, 3, H, W]`` -> logits ``[B, C]``.
        parameters: with gradients switched on.
        groups: images ``[B, 3, H, W]`` each; at least one.

    Returns:
        ``[P]``, the parameters in their order, as ``parameters_to_vector`` lays them out.
    """
    total, count = torch.zeros_like(nn.utils.parameters_to_vector(parameters)).detach(), 0
    for images in groups:
        logits = model(images)
        loss = F.cross_entropy(logits, logits.argmax(1))
        gradients = torch.autograd.grad(loss, parameters, materialize_grads=True)
        total += torch.cat([gradient.flatten() for gradient in gradients]).square()
        count += 1
    return total / count
