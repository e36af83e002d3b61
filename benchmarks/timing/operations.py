"""Each function of ``tta.ops`` whose speed matters, beside its naive form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor

from tta.backbones import create_backbone
from tta.methods.lame_optimization import rbf_affinity
from tta.ops.contrastive import nearest_prototype, prototype_contrastive_loss
from tta.ops.ema import ema_update
from tta.ops.norm.mixed_batch_norm import mixed_batch_norm
from tta.ops.views.augment import CottaAugment

from . import naive
from .measure import Target, interleave, peak_memory, ratio

Call = Callable[[], Any]


@dataclass(frozen=True)
class Operation:
    """Two ways to compute the same.

    Attributes:
        name: with the shapes.
        here: the way of ``tta.ops``.
        naive: the other way.
        at_most: target of the ratio, if there is one.
        memory_at_most: target of the extra memory in MiB, if there is one.
    """

    name: str
    here: Call
    naive: Call
    at_most: float | None = None
    memory_at_most: float | None = None

    def measure(self) -> tuple[list[str], list[Target]]:
        """Return the line of the table, and the targets."""
        samples = interleave({"here": self.here, "naive": self.naive}, rounds=15, seconds=8.0)
        value = ratio(samples, "here", "naive")
        memory = peak_memory(self.here), peak_memory(self.naive)
        shown = ["" if amount is None else f"{amount:.0f}" for amount in memory]
        milliseconds = 1e3 * median(samples["here"])
        targets = []
        if self.at_most is not None:
            targets.append(Target(f"{self.name} / naive", self.at_most, value))
        if self.memory_at_most is not None:
            what = f"{self.name}: extra memory"
            targets.append(Target(what, self.memory_at_most, memory[0], "MiB"))
        return [self.name, f"{milliseconds:.3g}", f"{value:.3f}", *shown], targets


def operations() -> list[Operation]:
    """Return every pair."""
    return [
        *_batch_norm(),
        _ema(),
        _prototype_match(),
        _contrastive(),
        _affinity(200, 512),
        _affinity(64, 2048),
        _augment(200, 32),
        _augment(16, 224),
    ]


def _batch_norm() -> list[Operation]:
    x = _random(16, 256, 56, 56).contiguous(memory_format=torch.channels_last)
    channels = torch.rand(4, 256, generator=torch.Generator().manual_seed(1)) + 0.5
    source, affine = (channels[0], channels[1]), (channels[2], channels[3])

    def forward(function: Callable[..., Tensor]) -> Call:
        return torch.no_grad()(lambda: function(x, source, *affine, 0.1, 1e-5))

    def both_ways(function: Callable[..., Tensor]) -> Call:
        inputs = [tensor.clone().requires_grad_() for tensor in (x, *affine)]

        def call() -> None:
            y = function(inputs[0], source, inputs[1], inputs[2], 0.1, 1e-5)
            torch.autograd.grad(y, inputs, x)

        return call

    name = "mixed batch norm 16x256x56x56, channels_last"
    return [
        Operation(name, forward(mixed_batch_norm), forward(naive.mixed_batch_norm)),
        Operation(
            f"{name}, with gradient", both_ways(mixed_batch_norm), both_ways(naive.mixed_batch_norm)
        ),
    ]


def _ema() -> Operation:
    average = list(create_backbone("resnet50", pretrained=False).parameters())
    current = [parameter.detach().clone() for parameter in average]
    return Operation(
        "EMA update of resnet50",
        lambda: ema_update(average, current, 0.999),
        lambda: naive.ema_update(average, current, 0.999),
        at_most=0.40,
    )


def _prototype_match() -> Operation:
    features, prototypes = _random(64, 2048), _random(1000, 2048)
    return Operation(
        "prototype match, 1000 prototypes, 64 samples, 2048 features",
        lambda: nearest_prototype(features, prototypes),
        lambda: naive.nearest_prototype(features, prototypes),
        at_most=0.01,
        memory_at_most=64,
    )


def _contrastive() -> Operation:
    views = [_random(200, 128) for _ in range(3)]
    return Operation(
        "contrastive loss, 3 views of 200 samples",
        lambda: prototype_contrastive_loss(views),
        lambda: naive.prototype_contrastive_loss(views),
    )


def _affinity(count: int, dimension: int) -> Operation:
    features = _random(count, dimension)
    return Operation(
        f"LAME rbf affinity, {count} samples, {dimension} features",
        lambda: rbf_affinity(features, 5),
        lambda: naive.rbf_affinity(features, 5),
        at_most=0.10,
    )


def _augment(count: int, side: int) -> Operation:
    images = _random(count, 3, side, side).sigmoid()

    def call(augment: CottaAugment) -> Call:
        return lambda: augment(images, torch.Generator().manual_seed(0))

    name = f"augmentation of RMT, {count} images of {side} px"
    return Operation(name, call(CottaAugment()), call(naive.NaiveAugment()))


def _random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))
