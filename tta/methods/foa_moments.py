"""Mean and standard deviation of what comes in batches, in one pass."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def moments_of_batches(batches: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation ``[D]`` over the rows of all batches ``[B, D]``.

    Batches are merged by Chan's formula, which keeps its digits where the mean is far from zero.
    The deviation is that of a sample (n - 1), and 0 for a single row.
    """
    count, mean, squares = 0, torch.zeros(()), torch.zeros(())
    for rows in batches:
        variance, batch_mean = torch.var_mean(rows, 0, correction=0)
        total = count + len(rows)
        moved = batch_mean - mean.to(rows)
        mean = mean.to(rows) + moved * (len(rows) / total)
        between = moved.square() * (count * len(rows) / total)
        squares = squares.to(rows) + variance * len(rows) + between
        count = total
    return mean, (squares / max(count - 1, 1)).sqrt()
