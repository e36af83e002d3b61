"""What CEMA does in the cloud: adapt the foundation model, distil it into a copy of the edge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tta.backbones.backbone import Backbone
from tta.datasets.images import to_unit_range
from tta.methods.base import descend, make_optimizer, trainable
from tta.methods.cema_distillation import distillation_terms, weighted_entropy
from tta.methods.cloud import ImageHistory, layout
from tta.methods.params import OptimizerParams, param
from tta.methods.state import capture, restore
from tta.ops.loss_scaling import scale_losses
from tta.ops.norm.batch_norm import AdaptiveBatchNorm, replace_batch_norm
from tta.ops.norm.renorm import RenormBatchNorm, running_statistics, set_statistics
from tta.ops.parameters import norm_affine_parameters


@dataclass(frozen=True)
class CemaCloudParams:
    """Hyper-parameters of the cloud side; the defaults are those of the authors' code."""

    statistics: str = param(
        "batch",
        "of batch-norm layers: batch's own, or batch renormalisation by running test statistics",
        choices=("batch", "renorm"),
    )
    high_margin: float = param(
        0.4, "upper entropy threshold before it is dynamic, as a fraction of ln C", minimum=0.0
    )
    foundation_lr: float = param(2.5e-4, "learning rate of the foundation model", minimum=0.0)
    edge_lr: float = param(2.5e-3, "learning rate of the edge's copy", minimum=0.0)
    momentum: float = param(0.9, "momentum of both (SGD)", minimum=0.0, below=1.0)
    entropy_weight: float = param(3.0, "weight of the edge's entropy", minimum=0.0)
    kl_weight: float = param(3.0, "weight of the divergence from the foundation", minimum=0.0)
    cross_entropy_weight: float = param(1.0, "weight of the hard pseudo-labels", minimum=0.0)
    temperature: float = param(1.0, "temperature of the divergence", minimum=1e-6)
    upload_batch: int = param(32, "uploads per cloud step", unit="images", minimum=1)
    replay_batch: int = param(96, "earlier uploads beside them", unit="images", minimum=0)
    replay_from: int = param(256, "earlier uploads before any replay", unit="images", minimum=1)
    history_size: int = param(10_000, "uploads that are kept", unit="images", minimum=0)


class CemaCloud:
    """The foundation model, a trainable copy of the edge model, and the uploads.

    Args:
        foundation: the larger model; owned and changed.
        edge: the edge model, whose layers :func:`adapt_statistics` has replaced; copied.
        params: hyper-parameters.
        margin: entropy margin of the loss weights, nats.
        generator: draws the replay.

    Attributes:
        edge_tensors: what a refresh of the edge carries: affine parameters, running statistics.
        edge_changed: whether they have changed since the last refresh.
    """

    state = (
        "foundation_tensors",
        "foundation_optimizer",
        "edge_tensors",
        "edge_optimizer",
        "queue",
        "history",
        "foundation_steps",
        "edge_steps",
        "edge_changed",
    )

    def __init__(
        self,
        foundation: Backbone,
        edge: Backbone,
        params: CemaCloudParams,
        margin: float,
        generator: torch.Generator,
    ) -> None:
        self.params, self.margin, self.generator = params, margin, generator
        self.foundation, self.edge = foundation, edge.clone()
        self.foundation_layers = adapt_statistics(foundation, params.statistics)
        self.edge_layers = _adaptive_layers(self.edge)
        self.foundation_optimizer = self._optimizer(foundation, params.foundation_lr)
        self.edge_optimizer = self._optimizer(self.edge, params.edge_lr)
        self.foundation_tensors = _changing(foundation, self.foundation_layers)
        self.edge_tensors = _changing(self.edge, self.edge_layers)
        self.queue: Tensor | None = None
        self.history = ImageHistory(params.history_size)
        self.foundation_steps = self.edge_steps = 0
        self.edge_changed = False

    def _optimizer(self, model: Backbone, lr: float) -> torch.optim.Optimizer:
        settings = OptimizerParams("sgd", lr, self.params.momentum, nesterov=False)
        optimizer = make_optimizer(trainable(norm_affine_parameters(model)), settings)
        if model.precision is torch.float16:
            scale_losses(optimizer)
        return optimizer

    def receive(self, images: Tensor, statistics: list[Tensor]) -> None:
        """Take uploads ``[n, 3, H, W]`` (uint8) and adapt once per full batch of them.

        Args:
            images: the uploads.
            statistics: of the edge's first batch, with the first upload; otherwise empty.
        """
        if statistics:
            torch._foreach_copy_(running_statistics(self.edge_layers), statistics)
        self.history.append(images)
        queue = images if self.queue is None else torch.cat([self.queue, images])
        size = self.params.upload_batch
        while len(queue) >= size:
            self._adapt(queue[:size])
            queue = queue[size:]
        self.queue = queue

    def rehearse(self) -> None:
        """Train the edge's copy on earlier uploads alone; for when no full batch has come."""
        if len(self.history) > self.params.replay_from:
            self._distil(self._replay(self.params.upload_batch + self.params.replay_batch))

    def _adapt(self, batch: Tensor) -> None:
        self._update_foundation(self._load(batch))
        if len(self.history) >= self.params.replay_from:
            batch = torch.cat([batch, self._replay(self.params.replay_batch)])
        self._distil(batch)

    def _replay(self, count: int) -> Tensor:
        return self.history.sample(count, self.generator)

    def _load(self, images: Tensor) -> Tensor:
        return to_unit_range(images, self.foundation.mean.device, layout(self.foundation))

    def _update_foundation(self, images: Tensor) -> None:
        """Minimise the weighted entropy of the foundation model on the uploads."""
        first = self.foundation_steps == 0
        set_statistics(self.foundation_layers, "adopt" if first else "move")
        descend(self.foundation_optimizer, weighted_entropy(self.foundation(images), self.margin))
        set_statistics(self.foundation_layers, "use")
        self.foundation_steps += 1

    def _distil(self, images: Tensor) -> None:
        """Draw the edge's copy towards the adapted foundation model."""
        images = self._load(images)
        with torch.no_grad():
            teacher = self.foundation(images)
        set_statistics(self.edge_layers, "move")
        terms = distillation_terms(self.edge(images), teacher, self.margin, self.params.temperature)
        loss = self.params.entropy_weight * terms.entropy + self.params.kl_weight * terms.kl
        loss = loss + self.params.cross_entropy_weight * terms.cross_entropy
        descend(self.edge_optimizer, loss)
        self.edge_steps += 1
        self.edge_changed = True

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of everything that changes."""
        return {name: capture(getattr(self, name)) for name in self.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state_dict`."""
        for name in self.state:
            setattr(self, name, restore(getattr(self, name), state[name]))


def adapt_statistics(model: Backbone, statistics: str) -> list[AdaptiveBatchNorm]:
    """Make the batch-norm layers of ``model`` use ``batch`` or ``renorm`` statistics."""
    replace_batch_norm(model, RenormBatchNorm if statistics == "renorm" else AdaptiveBatchNorm)
    return _adaptive_layers(model)


def _adaptive_layers(model: Backbone) -> list[AdaptiveBatchNorm]:
    return [module for module in model.modules() if isinstance(module, AdaptiveBatchNorm)]


def _changing(model: Backbone, layers: list[AdaptiveBatchNorm]) -> list[Tensor]:
    return [*norm_affine_parameters(model), *running_statistics(layers)]
