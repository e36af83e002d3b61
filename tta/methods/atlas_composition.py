"""How aTLAS adds task vectors to a tensor, and what a gradient there says of their coefficients."""

from __future__ import annotations

import torch
from torch import Tensor


def drawn_groups(size: int, partitions: int, generator: torch.Generator) -> Tensor:
    """Return at random to which of so many groups each value of a tensor belongs, uint8 ``[N]``.

    Args:
        size: N.
        partitions: groups, at most 256; each value is in any of them with the same probability.
        generator: of the host.
    """
    return torch.randint(partitions, (size,), generator=generator, dtype=torch.uint8)


def composed(shares: Tensor, changes: Tensor, groups: Tensor | None = None) -> Tensor:
    """Return the sum of task vectors of one tensor ``[N]``, scaled by coefficients.

    Args:
        shares: of I vectors ``[I]``; or ``[I, K]``, one for each of K groups of values.
        changes: the vectors ``[I, N]``.
        groups: of the values ``[N]``, where there are any.
    """
    if groups is None:
        return shares @ changes
    return (shares[:, groups.long()] * changes).sum(0)


def composed_gradient(
    gradient: Tensor, changes: Tensor, groups: Tensor | None = None, partitions: int = 1
) -> Tensor:
    """Return the gradient of the coefficients, of the shape of :func:`composed`'s ``shares``.

    Args:
        gradient: of the tensor that vectors were added to ``[N]``.
        changes: the vectors ``[I, N]``.
        groups: of the values ``[N]``, where there are any.
        partitions: K.
    """
    if groups is None:
        return changes @ gradient
    # A sum for each group, not index_add_: on a GPU that adds in another order every time.
    return torch.stack([changes @ gradient.where(groups == k, 0) for k in range(partitions)], 1)
