"""Tensors in few bits per value."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def packed(values: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Return values as whole numbers of ``bits`` bits, evenly between the least and the greatest.

    Args:
        values: float32, of any shape, at least one.
        bits: 1, 2, 4 or 8.

    Returns:
        uint8 codes ``[ceil(n bits / 8)]``, the first value in the lowest bits, and the least and
        the greatest value ``[2]``.
    """
    low, high = values.min(), values.max()
    levels = 2**bits - 1
    step = ((high - low) / levels).clamp_min(torch.finfo(values.dtype).tiny)
    codes = ((values.flatten() - low) / step).round().clamp(0, levels).to(torch.uint8)
    each = 8 // bits
    codes = torch.nn.functional.pad(codes, (0, -len(codes) % each)).view(-1, each)
    places = torch.arange(each, dtype=torch.uint8) * bits
    return (codes << places).sum(1).to(torch.uint8), torch.stack([low, high])


def unpacked(codes: Tensor, bounds: Tensor, bits: int, shape: Sequence[int]) -> Tensor:
    """Return what :func:`packed` has packed, as float32 of a shape."""
    places = torch.arange(8 // bits, dtype=torch.uint8) * bits
    levels = 2**bits - 1
    each = (codes[:, None] >> places) & levels
    step = (bounds[1] - bounds[0]) / levels
    return (bounds[0] + step * each.flatten()[: math.prod(shape)].float()).view(shape)
