"""Stochastic restoration of source weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tta.ops.generators import generator_on


@torch.no_grad()
def stochastic_restore(
    parameters: Sequence[Tensor],
    source: Sequence[Tensor],
    rate: float,
    generator: torch.Generator,
) -> None:
    """Put each element of ``parameters`` back to its ``source`` value with probability ``rate``.

    In place. CoTTA (Wang et al., CVPR 2022), eq. 7 and 8.

    Args:
        parameters: what has been adapted.
        source: tensors of the same shapes.
        rate: between 0 and 1.
        generator: CPU generator.
    """
    if rate == 0:
        return
    drawing = generator_on(parameters[0].device, generator)
    for parameter, original in zip(parameters, source, strict=True):
        mask = torch.empty_like(parameter, dtype=torch.bool, requires_grad=False)
        mask.bernoulli_(rate, generator=drawing)
        parameter.copy_(torch.where(mask, original, parameter))
