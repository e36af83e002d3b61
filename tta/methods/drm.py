"""DRM: domain-specific risk minimisation, a choice among the heads of several source domains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tta.foundation.errors import UserError
from tta.methods.base import Method, Need, descend, make_optimizer, trainable
from tta.methods.drm_head_weights import (
    HARD,
    batch_entropy_weights,
    entropy_weights,
    nearest_mean_by_cosine,
    nearest_mean_by_distance,
    one_hot,
)
from tta.methods.params import OptimizerParams, param
from tta.ops.losses import entropy
from tta.ops.parameters import all_parameters

ENTROPY_RULES = ("ensemble", "entropy")
DOMAIN_RULES = ("cosine", "lp", "discriminator", "discriminator_mix")


class DomainSpecificRiskMinimization(Method):
    """Weighs K domain heads and a shared head per sample, and trains them on pseudo-labels.

    The prediction is ``sum_i w_i softmax(h_i)``. ``rule`` decides the weights:

    - ``ensemble``: in proportion to ``H(h_i) ** -gamma`` per sample; gamma 0 is the uniform
      ensemble, -1 the head of least entropy;
    - ``entropy``: the head whose mean entropy over the batch is least;
    - ``cosine``, ``lp``: the domain whose mean training feature is nearest;
    - ``discriminator``, ``discriminator_mix``: the domain that the discriminator finds likeliest,
      or all domains in proportion to its softmax.

    Then each head takes ``steps`` steps down its cross-entropy against the pseudo-labels whose
    confidence reaches ``confidence``, summed over heads. ``adapt`` says what is trained: heads
    (DRM) or all parameters (DRMFull; batch norm keeps source statistics). Outputs are the
    prediction before the first step.

    ``compat`` does as the released code: ``cosine`` takes the least similar domain; the ensemble
    normalises its weights over all heads but sums the domain heads only (outputs are scaled to
    sum to one afterwards); the confidence of ``uniform`` and ``drm`` pseudo-labels comes from a
    softmax over probabilities; with several ``steps`` the outputs are those of the last pass, from
    before the last step and after the others.
    """

    name = "drm"
    paper = "Zhang et al., Domain-specific risk minimization for domain generalization, KDD 2023"
    outputs = "probabilities"
    state = ("parameters", "optimizer")

    @dataclass(frozen=True)
    class Params:
        """Hyper-parameters."""

        rule: str = param("ensemble", "weights of heads", choices=ENTROPY_RULES + DOMAIN_RULES)
        gamma: float = param(
            1.0, "exponent of rule ensemble; 0 uniform, -1 the least entropy alone", minimum=HARD
        )
        p: float = param(2.0, "norm of rule lp", minimum=1.0)
        use_shared_head: bool = param(True, "let entropy rules choose the shared head too")
        adapt: str = param("heads", "what is trained", choices=("none", "heads", "all"))
        pseudo_labels: str = param(
            "drm",
            "from each head, the shared head, the mean of heads, or the prediction",
            choices=("own", "last", "uniform", "drm"),
        )
        confidence: float = param(
            0.75, "least confidence of a pseudo-label; above 1 none passes", minimum=0.0
        )
        steps: int = param(1, "steps per batch", minimum=1)
        alpha: float = param(0.1, "learning rate (Adam), as a multiple of lr_train", minimum=0.0)
        lr_train: float = param(1e-3, "learning rate of the source training", minimum=0.0)
        compat: bool = param(False, "do as the released code, slips included")

    @classmethod
    def needs(cls, params: Any) -> frozenset[Need]:
        return frozenset({Need.DOMAIN_HEADS})

    @classmethod
    def keeps_network(cls, params: Any) -> bool:
        return params.adapt != "all"

    def configure(self) -> None:
        if HARD < self.params.gamma < 0:
            raise UserError(
                f"parameter drm.gamma must be -1 or at least 0, but got {self.params.gamma}"
            )
        self.parameters = trainable(self._trained())
        rate = OptimizerParams(lr=self.params.alpha * self.params.lr_train)
        self.optimizer = make_optimizer(self.parameters, rate) if self.parameters else None

    def _trained(self) -> list[nn.Parameter]:
        if self.params.adapt == "none":
            return []
        shared = self.backbone.classifier if self.params.adapt == "heads" else self.backbone.model
        return [*all_parameters(self.backbone.domain_heads.heads), *all_parameters(shared)]

    def step(self, images: Tensor) -> Tensor:
        if self.optimizer is None:
            return self.predict(images)
        features = self._features(images)
        first = last = self._adapt(features)
        for _ in range(self.params.steps - 1):
            last = self._adapt(self._features(images) if self.params.adapt == "all" else features)
        return _normalised(last if self.params.compat else first)

    def _features(self, images: Tensor) -> Tensor:
        with torch.set_grad_enabled(self.params.adapt == "all"):
            return self.backbone.features(images)

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        features = self.backbone.features(images)
        return _normalised(self._combine(features, self.backbone.domain_logits(features)))

    def _adapt(self, features: Tensor) -> Tensor:
        """Take one step; return the prediction before it."""
        logits = self.backbone.domain_logits(features)
        combined = self._combine(features.detach(), logits.detach())
        confidence, labels = self._pseudo_labels(logits.detach(), combined)
        confident = confidence >= self.params.confidence
        # Waits for the device: without a pseudo-label there is no step.
        if confident.any().item():
            descend(self.optimizer, _summed_means(logits, labels, confident))
        return combined

    def _combine(self, features: Tensor, logits: Tensor) -> Tensor:
        return torch.einsum("mb,mbc->bc", self._weights(features, logits), logits.softmax(2))

    def _weights(self, features: Tensor, logits: Tensor) -> Tensor:
        """Return the weights ``[K + 1, B]`` of the heads; rules over domains give the last 0."""
        params, heads = self.params, self.backbone.domain_heads
        if params.rule in ENTROPY_RULES:
            return self._entropy_weights(
                entropy(logits.flatten(0, 1)).unflatten(0, logits.shape[:2])
            )
        if params.rule == "cosine":
            weights = nearest_mean_by_cosine(features, heads.means, farthest=params.compat)
        elif params.rule == "lp":
            weights = nearest_mean_by_distance(features, heads.means, params.p)
        else:
            weights = heads.discriminator(features).softmax(1).T.float()
            if params.rule == "discriminator":
                weights = one_hot(weights.argmax(0), len(weights))
        return F.pad(weights, (0, 0, 0, 1))

    def _entropy_weights(self, entropies: Tensor) -> Tensor:
        params = self.params
        considered = entropies if params.use_shared_head else entropies[:-1]
        if params.rule == "entropy":
            weights = batch_entropy_weights(considered)
        else:
            weights = entropy_weights(considered, params.gamma)
            if params.compat and params.gamma != HARD and params.use_shared_head:
                weights = weights[:-1]
        return F.pad(weights, (0, 0, 0, len(entropies) - len(weights)))

    def _pseudo_labels(self, logits: Tensor, combined: Tensor) -> tuple[Tensor, Tensor]:
        """Return confidence and label ``[K + 1, B]`` of every sample for every head."""
        kind = self.params.pseudo_labels
        if kind in ("own", "last"):
            probabilities = (logits if kind == "own" else logits[-1:]).softmax(2)
        else:
            probabilities = logits.softmax(2).mean(0) if kind == "uniform" else combined
            if self.params.compat:
                probabilities = probabilities.softmax(1)
            probabilities = probabilities[None]
        confidence, labels = probabilities.max(2)
        return confidence.expand(logits.shape[:2]), labels.expand(logits.shape[:2])


def _summed_means(logits: Tensor, labels: Tensor, chosen: Tensor) -> Tensor:
    """Return each head's mean cross-entropy over its chosen samples, summed over heads.

    Args:
        logits: ``[K + 1, B, C]``; those of samples that are not chosen may be anything.
        labels: ``[K + 1, B]``.
        chosen: mask ``[K + 1, B]``; a head without any counts as 0.
    """
    # A place that is not chosen gets a gradient of 0, also where its logits are not finite.
    selected = torch.where(chosen[..., None], logits, 0.0).flatten(0, 1)
    losses = F.cross_entropy(selected, labels.flatten(), reduction="none")
    weights = chosen / chosen.sum(1, keepdim=True).clamp_min(1)
    return (losses * weights.flatten()).sum()


def _normalised(weighted: Tensor) -> Tensor:
    return weighted / weighted.sum(1, keepdim=True).clamp_min(torch.finfo(weighted.dtype).tiny)
