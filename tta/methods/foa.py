"""FOA: forward-only adaptation of a vision transformer's prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tta.backbones.prompts import PromptedTransformer
from tta.foundation.from_host import from_host
from tta.methods.base import Method, Need
from tta.methods.foa_moments import moments_of_batches
from tta.methods.foa_search import EvolutionSearch
from tta.methods.params import param
from tta.ops.losses import entropy
from tta.source.source_data import SourceData

LAMBDA_BATCH = 64
"""Batch size that lambda is published for: it grows with the batch as the sum of entropies does."""


class ForwardOnlyAdaptation(Method):
    """Searches input prompts by CMA-ES, and shifts the class token towards the source's mean.

    Every batch is seen by ``population`` prompts that the search proposes and by the best prompts
    of the batch before. The fitness of prompts is

        sum of entropies + lambda B / 64 * sum over blocks (|mean - source|^2 + |std - source|^2)

    over the class token after each block; the released code, which lambda is published with,
    squares the norms. Outputs are those of the fittest: ``head(z + source mean - m)`` with z the
    last class token and m the moving average of its mean up to the batch before; the first batch
    is not shifted. No weights change and nothing is differentiated (Niu et al., ICML 2024).

    Where the released code ranks population + 1 candidates with weights made for population, the
    search is made for population + 1 here. A batch of one has no spread, and the std term is left
    out. Published figures start anew for every domain: scenario ``reset_each_shift``.

    Needs the package ``cmaes`` and a ViT with a class token.
    """

    name = "foa"
    paper = "Niu et al., Test-time model adaptation with only forward passes, ICML 2024"
    predicts = "after"
    state = ("search", "best", "target_mean", "batches")
    prepared = ("source_mean", "source_std")

    @dataclass(frozen=True)
    class Params:
        """Hyper-parameters; the defaults are those for ImageNet-C."""

        prompts: int = param(
            3, "prompts beside the class token", unit="tokens", minimum=1, maximum=4096
        )
        population: int = param(
            27, "prompts that the search proposes per batch", minimum=4, maximum=100_000
        )
        fitness_lambda: float = param(0.4, "lambda: weight of the discrepancy", minimum=0.0)
        mean_decay: float = param(
            0.9, "EMA decay of the test features' mean", minimum=0.0, maximum=1.0
        )
        source_samples: int = param(
            50_000, "source images that statistics are taken of", unit="images", minimum=2
        )
        covariance: str = param(
            "full",
            "what the search adapts; diagonal, not published, spares 20 s and 2.5 GB on a ViT-B",
            choices=("full", "diagonal"),
        )

    @classmethod
    def needs(cls, params: Any) -> frozenset[Need]:
        return frozenset({Need.VISION_TRANSFORMER, Need.SOURCE_AT_PREPARE})

    def configure(self) -> None:
        self.transformer = PromptedTransformer(self.backbone)
        width = self.backbone.feature_dim
        size = self.params.prompts * width
        diagonal = self.params.covariance == "diagonal"
        self.search = EvolutionSearch(size, self.params.population + 1, diagonal)
        self.best = self.transformer.drawn(self.params.prompts, self.generator).flatten()
        self.target_mean = next(self.backbone.parameters()).new_zeros(width, dtype=torch.float32)
        self.batches = 0

    @torch.no_grad()
    def prepare(self, source: SourceData) -> None:
        images = source.first_images(self.params.source_samples)
        self.source_mean, self.source_std = moments_of_batches(
            self.transformer.activations(batch) for batch in images
        )

    @torch.no_grad()
    def step(self, images: Tensor) -> Tensor:
        proposed = self.search.ask(self.params.population, self.generator)
        candidates = torch.cat([proposed, self.best[None]])
        shift, width = self._shift(), self.backbone.feature_dim
        fitness, outputs, means = [], [], []
        for prompts in self._on_device(candidates, images):
            activations = self.transformer.activations(images, prompts)
            features = activations[:, -width:]
            fitness.append(self._fitness(activations, self.backbone.head(features)))
            outputs.append(self.backbone.head(features + shift))
            means.append(features.mean(0))
        worst = torch.finfo(torch.float32).max
        # The one wait for the device. A candidate that overflows is never the best.
        losses = torch.stack(fitness).nan_to_num(nan=worst).tolist()
        best = losses.index(min(losses))
        self.best = candidates[best].clone()
        self.search.tell(candidates, losses)
        self._follow(torch.stack(means).mean(0))
        return outputs[best]

    def _on_device(self, candidates: Tensor, images: Tensor) -> Tensor:
        """Return prompts ``[N, P, D]`` of candidates ``[N, P * D]``."""
        shape = (len(candidates), self.params.prompts, self.backbone.feature_dim)
        return from_host(candidates.float(), images.device).view(shape)  # MPS has no float64

    def _fitness(self, activations: Tensor, logits: Tensor) -> Tensor:
        apart = (activations.mean(0) - self.source_mean).square().sum()
        if len(activations) > 1:
            apart = apart + (activations.std(0) - self.source_std).square().sum()
        weight = self.params.fitness_lambda * len(activations) / LAMBDA_BATCH
        return entropy(logits).sum() + weight * apart

    def _shift(self) -> Tensor | float:
        """Return what is added to the last class token: 0 before the first batch."""
        if self.batches == 0:
            return 0.0
        return self.source_mean[-self.backbone.feature_dim :] - self.target_mean

    def _follow(self, mean: Tensor) -> None:
        decay = self.params.mean_decay if self.batches else 0.0
        self.target_mean.lerp_(mean, 1 - decay)
        self.batches += 1

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        (prompts,) = self._on_device(self.best[None], images)
        activations = self.transformer.activations(images, prompts)
        return self.backbone.head(activations[:, -self.backbone.feature_dim :] + self._shift())
