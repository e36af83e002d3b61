"""Linear layers by their singular values, and how widely tokens use their directions."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tta.ops.selection import selected_mean

_SMALLEST = 1e-6
"""A singular value that is not above it is none."""


class Spectrum(NamedTuple):
    """``U diag(S) V``, without the directions that the weight does not use."""

    left: Tensor
    values: Tensor
    right: Tensor


@torch.no_grad()
def spectrum(weight: Tensor) -> Spectrum:
    """Return the singular value decomposition of a weight ``[O, I]``: ``[O, R], [R], [R, I]``."""
    left, values, right = torch.linalg.svd(weight.float(), full_matrices=False)
    rank = max(int((values > _SMALLEST).sum()), 1)  # of zeros, one direction
    return Spectrum(left[:, :rank].clone(), values[:rank].clone(), right[:rank].clone())


class SpectralLinear(nn.Module):
    """A linear layer that is trained by its singular values alone.

    Args:
        layer: in whose place it stands.
        parts: of its weight.
    """

    left: Tensor
    right: Tensor

    def __init__(self, layer: nn.Linear, parts: Spectrum) -> None:
        super().__init__()
        self.values = nn.Parameter(parts.values)
        self.bias = layer.bias
        self.register_buffer("left", parts.left)
        self.register_buffer("right", parts.right)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        # A sum of many products, which fewer digits would blur.
        with torch.autocast(x.device.type, enabled=False):
            weight = (self.left * self.values) @ self.right
        return F.linear(x, weight, self.bias)


def linear_layers(blocks: Sequence[nn.Module]) -> Iterator[tuple[int, nn.Module, str, nn.Linear]]:
    """Yield the linear layers of blocks: number of the block, parent, name there, layer."""
    for number, block in enumerate(blocks):
        for parent in list(block.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, nn.Linear):
                    yield number, parent, name, child


class DirectionSpread:
    """How widely the tokens of a batch spread over the singular directions of some layers.

    Of one layer: the standard deviation, over images and tokens, of unit tokens along each right
    singular vector; the mean over those vectors but the largest. Baek et al., ICLR 2026.

    Args:
        blocks: by whose number the sum over layers is divided.
    """

    def __init__(self, blocks: int) -> None:
        self.blocks = blocks
        self._spreads: list[Tensor] | None = None

    def watch(self, layer: nn.Module, right: Tensor) -> None:
        """Count a layer, with its right singular vectors ``[R, I]``; gets a hook."""
        layer.register_forward_pre_hook(self._hook(right))

    def _hook(self, right: Tensor) -> Callable[[nn.Module, tuple[Tensor]], None]:
        def collect(_: nn.Module, inputs: tuple[Tensor]) -> None:
            if self._spreads is not None:
                self._spreads.append(spread_along(inputs[0], right))

        return collect

    @contextlib.contextmanager
    def watching(self) -> Iterator[list[Tensor]]:
        """Collect, during a forward pass, one value per layer."""
        self._spreads = spreads = []
        try:
            yield spreads
        finally:
            self._spreads = None

    def total(self, spreads: list[Tensor]) -> Tensor:
        """Return the sum over layers, per block: a scalar."""
        return torch.stack(spreads).sum() / self.blocks


def spread_along(tokens: Tensor, right: Tensor) -> Tensor:
    """Return the spread of tokens ``[B, N, I]`` along directions ``[R, I]``, a scalar."""
    along = F.linear(F.normalize(tokens, dim=-1), right.to(tokens.dtype)).float()
    deviations = along.flatten(0, -2).std(0)
    return selected_mean(deviations, deviations < deviations.amax())
