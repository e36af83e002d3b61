"""UniEnt: entropy down for samples that look known, up for those that do not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tta.foundation.from_host import from_host
from tta.methods.base import Need, descend
from tta.methods.eata import Eata
from tta.methods.ostta import not_less_sure
from tta.methods.params import param
from tta.methods.unient_mixture import posterior_of_lower, unlikeness
from tta.ops.losses import marginal_entropy
from tta.ops.selection import selected_mean
from tta.source.source_data import SourceData


class UnifiedEntropy(Eata):
    """Minimises the entropy of known samples, maximises that of unknown ones and of the mean.

    A sample is known as far as the source network's feature points along a row of the
    classifier, compared with the rest of its batch: a mixture of two Gaussians is fitted to that,
    and the one nearer to the classes holds the known. ``unient`` sorts the batch in two and takes
    the mean over each part; ``unient_plus`` weights every sample by the probability of its being
    known, and unknown (Gao et al., Unified entropy optimization, CVPR 2024). A part without a
    sample is left out; samples that nothing tells apart, such as a lone one, are known.

    ``base`` is the method that what looks known is given to: all of it (``tent``), what EATA
    selects and weights with its penalty (``eata``), or what OSTTA keeps (``ostta``).

    The published weights were searched for on the test stream: {1, 0.5, 0.2, 0.1} each.
    """

    name = "unient"
    title = "UniEnt"
    paper = "Gao et al., Unified entropy optimization for open-set TTA, CVPR 2024"

    @dataclass(frozen=True)
    class Params(Eata.Params):
        """Hyper-parameters; those of EATA matter with ``base=eata`` alone."""

        criterion: str = param(
            "unient", "known or unknown, or how much of each", choices=("unient", "unient_plus")
        )
        base: str = param("tent", "what adapts to known samples", choices=("tent", "eata", "ostta"))
        marginal_weight: float = param(
            0.5, "alpha_1: weight of the entropy of the batch's mean prediction", minimum=0.0
        )
        unknown_weight: float = param(
            0.5, "alpha_2: weight of the entropy of unknown samples", minimum=0.0
        )

    @classmethod
    def needs(cls, params: Any) -> frozenset[Need]:
        needs = super().needs(params)
        return needs if params.base == "eata" else needs - {Need.SOURCE_AT_PREPARE}

    def configure(self) -> None:
        super().configure()
        self.source = self.backbone.clone().requires_grad_(False)
        self.fisher = torch.zeros_like(self.source_parameters)

    def prepare(self, source: SourceData | None) -> None:
        if self.params.base == "eata":
            super().prepare(source)

    def step(self, images: Tensor) -> Tensor:
        logits = self.backbone(images)
        with torch.no_grad():
            features = self.source.features(images)
            known = self._known(unlikeness(features, self.backbone.class_rows))
        entropies = self.uncertainty(logits)
        if self.params.criterion == "unient":
            candidates = known > 0.5
            unknown = selected_mean(entropies, ~candidates)
        else:
            candidates = torch.ones_like(known, dtype=torch.bool)
            unknown = ((1 - known) * entropies).mean()
            entropies = known * entropies
        loss = self._of_known(logits, entropies, candidates, features)
        loss = loss - self.params.unknown_weight * unknown
        descend(self.optimizer, loss - self.params.marginal_weight * marginal_entropy(logits))
        return logits.detach()

    def _known(self, scores: Tensor) -> Tensor:
        """Return the probability of being known ``[B]``, of scores ``[B]`` that are low for it."""
        # The one wait for the device: scikit-learn fits the mixture on the host.
        posterior = posterior_of_lower(scores.cpu().numpy(), self._seed())
        return from_host(torch.from_numpy(posterior), scores.device)

    def _seed(self) -> int:
        return torch.randint(2**31, (), generator=self.generator).item()

    def _of_known(
        self, logits: Tensor, entropies: Tensor, candidates: Tensor, features: Tensor
    ) -> Tensor:
        """Return what the base minimises, a scalar, of those of the batch that are candidates."""
        if self.params.base == "eata":
            # Of infinite entropy, what is no candidate is not reliable.
            selected = self.select(logits, torch.where(candidates, entropies, torch.inf))
            return self.objective(entropies, selected)
        if self.params.base == "ostta":
            candidates = candidates & not_less_sure(logits.detach(), self.source.head(features))
        return selected_mean(entropies, candidates)
