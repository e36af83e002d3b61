"""DPCore: a coreset of prompts that bring a vision transformer's features to the source's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tta.backbones.prompts import PromptedTransformer
from tta.foundation.errors import UserError
from tta.methods.base import Method, Need, descend, make_optimizer
from tta.methods.dpcore_coreset import Coreset
from tta.methods.episodes import go_back
from tta.methods.params import OptimizerParams, param
from tta.ops.losses import entropy
from tta.ops.selection import entropy_margin
from tta.source.source_data import SourceData

Moments = tuple[Tensor, Tensor]


class Prompted(NamedTuple):
    """A batch under prompts.

    Attributes:
        logits: ``[B, C]``, without a graph.
        moments: mean and deviation of its features.
        loss: the discrepancy, with its graph.
    """

    logits: Tensor
    moments: Moments
    loss: Tensor


class DynamicPromptCoreset(Method):
    """Learns prompts for domains that are new, and mixes those it has where they help.

    The discrepancy of a batch is ``|mean - source mean| + |std - source std|`` over its features,
    those of the source images that the network is certain of. All prompts in the coreset are
    mixed, each weighted by how near the moments of its batch are to those of this one, without
    prompts. If that takes the discrepancy below ``reuse_threshold`` of what it is without, the
    mixture takes one step and every core moves, by its weight, towards the stepped prompts and
    the batch's moments. Else prompts are learnt from their start in ``steps`` steps, and are a
    core of their own. Outputs are those of the last step's forward pass (Zhang et al., ICML 2025).

    ``compat=True`` does as the released code: cores move towards the moments of the features with
    prompts, though they are compared with those without; their deviations can only grow; and
    source images are chosen by the predictions under random prompts.

    A batch of one has no spread, for which the source's is taken. A batch whose features are not
    all numbers changes nothing. The released code keeps every core; here the oldest goes once there
    are ``kept_cores``.
    """

    name = "dpcore"
    paper = "Zhang et al., DPCore: dynamic prompt coreset for continual TTA, ICML 2025"
    predicts = "after"
    resets_often = True
    state = ("prompts", "optimizer", "coreset")
    prepared = ("source_mean", "source_std")

    @dataclass(frozen=True)
    class Params(OptimizerParams):
        """Hyper-parameters; the defaults are those for ViT-B on ImageNet-C."""

        optimizer: str = param("adamw", "optimiser", choices=("adamw", "adam", "sgd"))
        lr: float = param(0.1, "learning rate", minimum=0.0)
        weight_decay: float = param(0.01, "weight decay", minimum=0.0)
        prompts: int = param(
            8, "prompts beside the class token", unit="tokens", minimum=1, maximum=4096
        )
        steps: int = param(50, "steps for a new domain", unit="steps", minimum=1, maximum=100_000)
        reuse_threshold: float = param(
            0.8,
            "rho: share of the discrepancy below which a mixture is good enough",
            minimum=0.0,
            maximum=1.0,
        )
        temperature: float = param(3.0, "tau: of the weights of cores", minimum=1e-6)
        update_rate: float = param(
            0.999, "alpha: times its weight, how far a core moves", minimum=0.0, maximum=1.0
        )
        kept_cores: int = param(1000, "cores that are kept", minimum=1, maximum=1_000_000)
        source_samples: int = param(
            300, "source images that moments are taken of", unit="images", minimum=2
        )
        source_margin: float = param(
            0.355, "entropy below which they are certain, as a fraction of ln C", minimum=0.0
        )
        compat: bool = param(False, "moments and choice of source images as in the released code")

    @classmethod
    def needs(cls, params: Any) -> frozenset[Need]:
        return frozenset({Need.VISION_TRANSFORMER, Need.SOURCE_AT_PREPARE})

    def configure(self) -> None:
        self.transformer = PromptedTransformer(self.backbone)
        drawn = self.transformer.drawn(self.params.prompts, self.generator)
        self.prompts = nn.Parameter(drawn.float().to(self.backbone.mean.device))
        self.optimizer = make_optimizer([self.prompts], self.params)
        self.coreset = Coreset(self.prompts.detach(), self.params.kept_cores)

    @torch.no_grad()
    def prepare(self, source: SourceData) -> None:
        features = torch.cat(list(self._certain(source)))[: self.params.source_samples]
        if len(features) < 2:
            raise UserError(
                f"method {self.name!r} takes moments of the source images that the network is "
                f"certain of, and of {len(source)} there are {len(features)}; raise "
                f"--set source_margin=... (it is {self.params.source_margin:g}; 1 takes them all)"
            )
        self.source_std, self.source_mean = torch.std_mean(features, 0)

    def _certain(self, source: SourceData) -> Iterator[Tensor]:
        """Yield features of source images until there are enough of which it is certain."""
        margin = entropy_margin(self.params.source_margin, self.backbone.num_classes)
        missing = self.params.source_samples
        for images, _ in source.one_pass():
            features = judged = self.transformer.features(images)
            if self.params.compat:
                judged = self.transformer.features(images, self.prompts)
            kept = features[entropy(self.backbone.head(judged)) < margin]
            yield kept
            missing -= len(kept)
            if missing <= 0:
                return

    def step(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            features = self.transformer.features(images)
        before, raw = self.prompts.detach().clone(), self._moments(features)
        weights = self.coreset.weights(*raw, self.params.temperature)
        tried = self._recall(images, weights) if len(weights) else None
        fits, finite = self._judge(self._apart(raw), tried)
        if not finite:
            self.prompts.data.copy_(before)
            return self.backbone.head(features)
        if tried is None or not fits:
            return self._learn(images, raw)
        descend(self.optimizer, tried.loss)
        self._follow(weights, tried.moments if self.params.compat else raw)
        return tried.logits

    def _moments(self, features: Tensor) -> Moments:
        """Return mean and deviation ``[D]``."""
        if len(features) == 1:
            return features[0], self.source_std
        std, mean = torch.std_mean(features, 0)
        return mean, std

    def _apart(self, moments: Moments) -> Tensor:
        """Return the discrepancy, a scalar."""
        mean, std = moments
        return (mean - self.source_mean).norm() + (std - self.source_std).norm()

    def _judge(self, apart: Tensor, tried: Prompted | None) -> list[bool]:
        """Return whether a mixture is good enough, and whether the discrepancy is a number."""
        reached = apart if tried is None else tried.loss.detach()
        fits = reached < self.params.reuse_threshold * apart
        # The one wait for the device: what comes next is one step, or many, or none.
        return torch.stack([fits, apart.isfinite()]).tolist()

    def _recall(self, images: Tensor, weights: Tensor) -> Prompted:
        """Try the mixture of all prompts."""
        go_back(self, "optimizer")
        with torch.no_grad():
            self.prompts.copy_(self.coreset.mixture(weights))
        return self._prompted(images)

    def _prompted(self, images: Tensor) -> Prompted:
        features = self.transformer.features(images, self.prompts)
        moments = self._moments(features)
        return Prompted(self.backbone.head(features.detach()), moments, self._apart(moments))

    def _learn(self, images: Tensor, raw: Moments) -> Tensor:
        """Learn prompts from their start, add them, and return the last logits."""
        go_back(self, "prompts", "optimizer")
        for _ in range(self.params.steps):
            found = self._prompted(images)
            descend(self.optimizer, found.loss)
        self.coreset.append(*raw, self.prompts.detach())
        return found.logits

    @torch.no_grad()
    def _follow(self, weights: Tensor, moments: Moments) -> None:
        mean, std = moments
        if self.params.compat:
            std = torch.maximum(std, self.coreset.stds)
        self.coreset.follow(self.params.update_rate * weights, mean, std, self.prompts)

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        prompts = self.prompts if len(self.coreset) else None
        return self.backbone.head(self.transformer.features(images, prompts))
