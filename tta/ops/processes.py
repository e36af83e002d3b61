"""Batch statistics over the processes of a distributed run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Processes:
    """A group of processes that share their batch statistics.

    Attributes:
        group: a process group; None for all processes.
    """

    group: Any = None

    @property
    def several(self) -> bool:
        """Whether there is more than this process."""
        initialized = dist.is_available() and dist.is_initialized()
        return initialized and dist.get_world_size(self.group) > 1

    def moments(
        self, moments: tuple[Tensor, Tensor], count: int
    ) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """Return mean and biased variance ``[C]`` over all processes, and the number of values.

        Args:
            moments: of this process ``[C]``.
            count: values per channel of this process, which may differ between processes.
        """
        own = torch.cat([*moments, moments[0].new_full((1,), count)])
        parts = [torch.empty_like(own) for _ in range(dist.get_world_size(self.group))]
        dist.all_gather(parts, own, self.group)
        channels = len(moments[0])
        means, variances, counts = torch.stack(parts).split([channels, channels, 1], dim=1)
        total = counts.sum()
        share = counts / total
        mean = (share * means).sum(0)
        var = (share * (variances + (means - mean).square())).sum(0)
        return (mean, var), total

    def total(self, values: Tensor) -> Tensor:
        """Return the sum of ``values`` over all processes."""
        values = values.clone()
        dist.all_reduce(values, group=self.group)
        return values
