"""POEM: protected online entropy matching, by betting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tta.backbones.stages import early_norm_parameters
from tta.foundation.from_host import from_host
from tta.methods.base import Method, Need, descend, make_optimizer, trainable
from tta.methods.params import OptimizerParams, param
from tta.methods.poem_protector import Protector
from tta.ops.losses import entropy
from tta.ops.memory import array_of
from tta.ops.norm.batch_norm import (
    replace_batch_norm,
    require_source_statistics,
    source_statistics,
)
from tta.ops.selection import entropy_margin, entropy_weight, selected_mean
from tta.source.source_data import SourceData

MATCH = "match"
MATCH_PLUS = "match++"


class Poem(Method):
    """Draws entropies to where they would be if their distribution were the source's.

    Bets against the distribution of source entropies tell how test entropies H differ from it,
    and turn each into the entropy H' that it would have without the difference, see
    :class:`tta.methods.poem_protector.Protector`. Without a shift H' is near H, and little is
    trained. The loss is ``mean (H - H')^2 / 2``, or with ``match++`` that of ``w (H - H')`` with
    ``w = exp(margin - H)`` over the samples whose entropy is below the margin; where there are
    none, no step is taken. Affine parameters of norm layers are trained, but for the last stages,
    from the batch on that brings the ``warm_up_samples``-th image. Outputs are those before the
    update (Bar et al., NeurIPS 2024).

    Source entropies are of the network as it is, with source statistics; batch norm then works
    with those of the batch, and the difference is among those that are undone. They should be of
    clean images that the network was not trained on, as it is too certain of those: the authors
    hold back a quarter of the test images. Here they are of ``--source``, whatever that holds.

    ``temperature`` divides the logits, outputs too; it calibrates one network on its source and is
    another for the next. The published code runs the network twice on every batch, on the same
    weights and statistics and so to the same outputs; once does. Its reset leaves the bets as they
    are; here it takes them back too.
    """

    name = "poem"
    title = "POEM"
    paper = (
        "Bar et al., Protected test-time adaptation via online entropy matching: a betting "
        "approach, NeurIPS 2024"
    )
    state = ("parameters", "optimizer", "protector", "seen")

    @dataclass(frozen=True)
    class Params(OptimizerParams):
        """Hyper-parameters; the defaults are those for CIFAR-10-C."""

        optimizer: str = param("sgd", "optimiser", choices=("adam", "sgd"))
        nesterov: bool = param(False, "Nesterov momentum (SGD)")
        temperature: float = param(1.8, "that logits are divided by", minimum=1e-6)
        loss: str = param(
            MATCH, "plain, or weighted and of certain samples alone", choices=(MATCH, MATCH_PLUS)
        )
        margin: float = param(
            0.4, "entropy below which match++ is of a sample, as a fraction of ln C", minimum=0.0
        )
        stake_rate: float = param(
            0.07216878364870323, "gamma, 1 / (8 sqrt 3): step of the stake", minimum=0.0
        )
        stake_bound: float = param(
            1.8, "D: stake from which it grows no further", minimum=0.0, below=2.0
        )
        warm_up_samples: int = param(
            100, "images that have come before anything is trained", unit="images", minimum=0
        )
        source_samples: int = param(
            2500, "source images whose entropies are matched", unit="images", minimum=1
        )
        frozen_share: float = param(
            0.25, "share of the last stages that is not trained", minimum=0.0, maximum=0.75
        )

    @classmethod
    def needs(cls, params: Any) -> frozenset[Need]:
        return frozenset({Need.NORM_AFFINE, Need.SOURCE_AT_PREPARE})

    def configure(self) -> None:
        require_source_statistics(self.backbone)
        self.layers = replace_batch_norm(self.backbone)
        self.parameters = trainable(early_norm_parameters(self.backbone, self.params.frozen_share))
        self.optimizer = make_optimizer(self.parameters, self.params)
        self.margin = entropy_margin(self.params.margin, self.backbone.num_classes)
        self.protector = Protector(self.params.stake_rate, self.params.stake_bound)
        self.seen = 0

    def prepare(self, source: SourceData) -> None:
        images = source.first_images(self.params.source_samples)
        with source_statistics(self.layers):
            entropies = [entropy(self.predict(batch)) for batch in images]
        self.protector.learn(torch.cat(entropies).cpu())

    def step(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        trains = self.seen >= self.params.warm_up_samples
        with torch.set_grad_enabled(trains):
            logits = self._logits(images)
            entropies = entropy(logits)
        found = self._read(entropies)
        targets = torch.from_numpy(self.protector.protect(found))
        if trains and self._is_any_selected(found):
            descend(self.optimizer, self.loss(entropies, from_host(targets, images.device)))
        return logits.detach()

    def _read(self, entropies: Tensor) -> np.ndarray:
        # The one wait for the device: every bet depends on the one before.
        return array_of(entropies.detach().cpu())

    def _is_any_selected(self, entropies: np.ndarray) -> bool:
        """Return whether there is something to train on; nothing where a value is not finite."""
        if not np.isfinite(entropies).all():
            return False
        return self.params.loss == MATCH or bool((entropies < self.margin).any())

    def loss(self, entropies: Tensor, targets: Tensor) -> Tensor:
        """Return what the step minimises, a scalar, of entropies and their targets ``[B]``."""
        if self.params.loss == MATCH:
            return 0.5 * (entropies - targets).square().mean()
        weights = entropy_weight(entropies, self.margin)
        squares = (weights * entropies - weights * targets).square()
        return 0.5 * selected_mean(squares, entropies.detach() < self.margin)

    def _logits(self, images: Tensor) -> Tensor:
        return self.backbone(images) / self.params.temperature

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        return self._logits(images)
