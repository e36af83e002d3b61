"""Directions in weight space: task vectors and robust weight signatures.

A vector is by name of a parameter the difference of two networks' values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from tta.ops.parameters import is_norm_layer

Vector = Mapping[str, Tensor]
SOURCE = "source"
"""The name under which moments of the uncorrupted images stand."""


@dataclass(frozen=True)
class WeightVectors:
    """Vectors of one architecture.

    Attributes:
        vectors: by name, such as that of a corruption; each has the same parameters.
        moments: by name, and :data:`SOURCE`: mean and variance ``[2, C]`` of what goes into each
            batch-norm layer of the source model, by name of the layer; or empty.
        source_sha256: of the source model that the moments are of.
    """

    vectors: Mapping[str, Vector]
    moments: Mapping[str, Vector] = field(default_factory=dict)
    source_sha256: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the vectors, in order."""
        return tuple(self.vectors)


def difference(start: Vector, end: Vector, keys: Iterable[str]) -> dict[str, Tensor]:
    """Return the task vector from one network to another, of some parameters."""
    return {key: end[key] - start[key] for key in keys}


def signature(start: Vector, clean: Vector, robust: Vector, keys: Iterable[str]) -> Vector:
    """Return the robust weight signature of some parameters.

    What training on corrupted images adds to training on clean ones: from one start, the robust
    network's task vector without its projection on the clean one's, tensor by tensor (Cai et al.,
    ICML 2023).

    Args:
        start: what both were trained from.
        clean: trained on clean images.
        robust: trained on corrupted ones.
        keys: of the parameters.
    """
    keys = list(keys)
    standard, changed = difference(start, clean, keys), difference(start, robust, keys)
    return {key: without_projection(changed[key], standard[key]) for key in keys}


def without_projection(vector: Tensor, onto: Tensor) -> Tensor:
    """Return a tensor less its projection on another of that shape; all of it where that is 0."""
    along = (vector * onto).sum() / (onto * onto).sum().clamp_min(torch.finfo(onto.dtype).tiny)
    return vector - along * onto


def first_layers(model: nn.Module, count: int | None) -> list[str]:
    """Return names of the parameters of the first layers, in module order.

    Layers are convolutions and linear layers; the affine parameters of the normalisation layers
    after them count with them.

    Args:
        model: a network.
        count: of layers; None for all parameters.
    """
    if count is None:
        return [name for name, _ in model.named_parameters()]
    names: list[str] = []
    for name, module in model.named_modules():
        weighted = isinstance(module, nn.Linear | nn.modules.conv._ConvNd)
        count -= weighted
        if count < 0:
            break
        if weighted or is_norm_layer(module):
            names += [f"{name}.{key}" for key, _ in module.named_parameters(recurse=False)]
    return names
