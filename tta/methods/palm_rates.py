"""Learning rates of PALM: one factor per tensor, from how its sensitivity changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

EPSILON = 1e-8
"""Added to both parts of a rate."""


class Rates:
    """Factors by which the tensors' learning rates are multiplied. Nothing waits for the device.

    Args:
        parameters: whose rates they are.
        largest_score: eta, L1 norm of a gradient up to which its tensor is selected.
        decay: beta_3, share of the mean sensitivity that an update keeps.

    Attributes:
        of_tensors: factors ``[T]``; 0 until a tensor is selected for the first time.
        sensitivity: moving average of ``|weight x gradient|``, over the updates in which a tensor
            was selected; starts at 0.
    """

    def __init__(self, parameters: Sequence[Tensor], largest_score: float, decay: float) -> None:
        self.parameters, self.largest_score, self.decay = parameters, largest_score, decay
        self.sensitivity = [torch.zeros_like(parameter) for parameter in parameters]
        self.of_tensors = parameters[0].new_zeros(len(parameters))

    @torch.no_grad()
    def update(self, gradients: Sequence[Tensor]) -> None:
        """Rate the tensors anew whose gradients are small; a gradient of NaN is not."""
        scores = torch.stack(torch._foreach_norm(list(gradients), 1))
        selected = scores <= self.largest_score
        now = torch._foreach_mul(list(gradients), list(self.parameters))
        torch._foreach_abs_(now)
        mean = torch._foreach_lerp(now, self.sensitivity, self.decay)
        torch._foreach_sub_(now, mean)
        torch._foreach_abs_(now)
        rates = torch.stack([_ratio(*pair) for pair in zip(now, mean, strict=True)])
        self.of_tensors.copy_(torch.where(selected, rates, self.of_tensors))
        for kept, moved, chosen in zip(self.sensitivity, mean, selected, strict=True):
            kept.copy_(torch.where(chosen, moved, kept))

    def state_dict(self) -> dict[str, Any]:
        """Return the rates and what they follow from; not copied."""
        return {"of_tensors": self.of_tensors, "sensitivity": self.sensitivity}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state_dict`."""
        self.of_tensors.copy_(state["of_tensors"])
        for kept, saved in zip(self.sensitivity, state["sensitivity"], strict=True):
            kept.copy_(saved)


def _ratio(change: Tensor, mean: Tensor) -> Tensor:
    return ((change + EPSILON) / (mean + EPSILON)).mean()


@torch.no_grad()
def move(parameters: Sequence[Tensor], before: Sequence[Tensor], rates: Tensor) -> None:
    """Let parameters have moved by these rates ``[T]`` of their steps from where they were."""
    for parameter, start, rate in zip(parameters, before, rates, strict=True):
        moved = start.lerp(parameter, rate)
        parameter.copy_(torch.where(rate > 0, moved, start))
