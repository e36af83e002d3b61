"""IMSE: a vision transformer adapted by the singular values of its linear layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tta.backbones.vision_transformer import patch_tokens
from tta.methods.base import Method, Need, backward, make_optimizer, trainable, update
from tta.methods.episodes import go_back
from tta.methods.imse_domains import DomainBank, patch_moments
from tta.methods.imse_spectrum import DirectionSpread, SpectralLinear, linear_layers, spectrum
from tta.methods.params import OptimizerParams, param
from tta.ops.losses import entropy
from tta.ops.selection import entropy_margin, selected_mean
from tta.ops.sharpness import climb
from tta.source.source_data import SourceData


class SpectralExperts(Method):
    """Trains singular values by reliable entropies, and recalls those of domains it has met.

    Linear layers of the blocks, but for the last share of them, are ``U diag(S) V`` of which S
    alone is trained. The loss is the mean entropy of reliable images less ``diversity_weight``
    times how widely the unit tokens of the last ``diversity_blocks`` blocks spread over the right
    singular vectors, at the worst point near S (as SAR). Outputs are those of the first pass.

    Every batch is compared, by the moments of its embedded patches, with the moving average of
    the domain at hand (symmetric KL). Further than ``shift_threshold``, that domain is kept with
    its S, and S becomes that of the nearest domain kept, the source included (``top1``), or the
    mean of all weighted by nearness (``mix``); the optimiser starts anew. Short batches do not
    enter the average (Baek et al., ICLR 2026). As in the released code the source's moments are
    such an average over its batches, too, and patches carry their position embeddings.

    The published figures of recurring domains are with ``lr=0.003``. A batch without a reliable
    image, for which the released code has NaN, is no step. That code keeps every domain; here the
    oldest goes once there are ``kept_domains``.
    """

    name = "imse"
    paper = "Baek et al., IMSE: intrinsic mixture of spectral experts for TTA, ICLR 2026"
    resets_often = True
    state = ("parameters", "optimizer", "domains")

    @dataclass(frozen=True)
    class Params(OptimizerParams):
        """Hyper-parameters; the defaults are those for ViT-B on ImageNet-C."""

        lr: float = param(7e-3, "learning rate", minimum=0.0)
        margin: float = param(
            0.4, "entropy above which a sample is unreliable, as a fraction of ln C", minimum=0.0
        )
        radius: float = param(0.05, "rho: length of the way uphill", minimum=0.0)
        frozen_share: float = param(
            0.25, "share of the last blocks that is not trained", minimum=0.0, maximum=0.75
        )
        diversity_weight: float = param(50.0, "weight of the spread over directions", minimum=0.0)
        diversity_blocks: int = param(
            3, "last blocks whose tokens are to spread", unit="blocks", minimum=1, maximum=4096
        )
        shift_threshold: float = param(
            0.05, "divergence from the domain at hand that ends it", minimum=0.0
        )
        retrieval: str = param(
            "top1",
            "what is recalled, the nearest domain or a mixture of all",
            choices=("top1", "mix"),
        )
        temperature: float = param(1.0, "of the mixture's weights", minimum=1e-6)
        kept_domains: int = param(
            1000, "domains beside the source that are kept", minimum=1, maximum=1_000_000
        )
        source_samples: int = param(
            2000, "source images that moments are taken of", unit="images", minimum=1
        )

    @classmethod
    def needs(cls, params: Any) -> frozenset[Need]:
        return frozenset({Need.VISION_TRANSFORMER, Need.SOURCE_AT_PREPARE})

    def configure(self) -> None:
        self.margin = entropy_margin(self.params.margin, self.backbone.num_classes)
        self._decompose()
        self.optimizer = make_optimizer(self.parameters, self.params)
        width = self.backbone.model.embed_dim
        like = self.parameters[0].detach().new_zeros(2, width)
        self.domains = DomainBank(like, self._learnt(), self.params.kept_domains)

    def _decompose(self) -> None:
        """Put spectral layers in place of linear ones, and watch the last blocks."""
        blocks = self.backbone.model.blocks
        trained = len(blocks) - int(self.params.frozen_share * len(blocks))
        watched = min(self.params.diversity_blocks, len(blocks))
        self.spread, layers = DirectionSpread(watched), []
        for number, parent, name, layer in linear_layers(blocks):
            is_watched = number >= len(blocks) - watched and self.params.diversity_weight > 0
            if number >= trained and not is_watched:
                continue
            parts = spectrum(layer.weight)
            if number < trained:
                layer = SpectralLinear(layer, parts)
                setattr(parent, name, layer)
                layers.append(layer)
            if is_watched:
                self.spread.watch(layer, parts.right)
        self.parameters = trainable([layer.values for layer in layers])

    def _learnt(self) -> Tensor:
        return torch.cat([values.detach() for values in self.parameters])

    @torch.no_grad()
    def prepare(self, source: SourceData) -> None:
        for images in source.first_images(self.params.source_samples):
            if len(images) == source.batch_size or len(self.domains.current) == 0:
                self.domains.follow(patch_moments(patch_tokens(self.backbone, images)))
        self.domains.leave(self._learnt())

    def step(self, images: Tensor) -> Tensor:
        self._enter(images)
        logits, entropies, spread = self._pass(images)
        reliable = entropies < self.margin
        self._backward(selected_mean(entropies, reliable) - spread)
        before = climb(self.parameters, self.params.radius)
        _, entropies, spread = self._pass(images)
        reliable = reliable & (entropies < self.margin)
        loss = selected_mean(entropies, reliable) - spread
        self._backward(loss)
        with torch.no_grad():
            torch._foreach_copy_(self.parameters, before)
            # A wait for the device: moments of the optimiser alone would move the model. Where one
            # image is not of numbers, the gradient is not, though the loss may be.
            if reliable.any() & loss.isfinite() & _are_finite(self.parameters):
                update(self.optimizer)
        return logits.detach()

    def _pass(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor | float]:
        """Return logits, entropies ``[B]``, and the weighted spread over directions."""
        with self.spread.watching() as spreads:
            logits = self.backbone(images)
        weight = self.params.diversity_weight
        return logits, entropy(logits), weight * self.spread.total(spreads) if spreads else 0.0

    def _backward(self, loss: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        backward(self.optimizer, loss)

    @torch.no_grad()
    def _enter(self, images: Tensor) -> None:
        """Follow the domain at hand; where it has ended, recall what was learnt in one like it."""
        moments = patch_moments(patch_tokens(self.backbone, images))
        if self.domains.is_left(moments, self.params.shift_threshold):
            self.domains.leave(self._learnt())
            self._recall(moments)
        if self.usual_batch is None or len(images) >= self.usual_batch:
            self.domains.follow(moments)

    def _recall(self, moments: Tensor) -> None:
        if self.params.retrieval == "top1":
            values = self.domains.nearest(moments)
        else:
            values = self.domains.mixture(moments, self.params.temperature)
        sizes = [len(parameter) for parameter in self.parameters]
        torch._foreach_copy_(self.parameters, list(values.split(sizes)))
        go_back(self, "optimizer")


def _are_finite(parameters: list[nn.Parameter]) -> Tensor:
    """Return whether all gradients are finite, a scalar."""
    return torch.stack(torch._foreach_norm([p.grad for p in parameters])).isfinite().all()
