"""OnZeta: online label and proxy learning, with the length of the stream known."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tta.foundation.errors import UserError
from tta.methods.base import Need
from tta.methods.params import param
from tta.methods.viewed import ImageByImage


class OnZeta(ImageByImage):
    """Learns a proxy of each class from images, and evens out how often classes are predicted.

    For image i of n, counted from 0: text probabilities a are weighted by exp(rho) per class; rho
    rises for classes that had less than alpha / C of them. Proxies W begin as the text embeddings,
    predict g = softmax(f W / tau) and take a step from g towards a. Outputs mix both as the stream
    goes on,

        b g + (1 - b) a,  b = beta sqrt((i + 1) / n),

    before the step on W (Qian and Hu, ECCV 2024). Steps shrink as 1 / sqrt(i + 1). That classes be
    predicted equally often is assumed, and hurts where it is not so. Where a stream is reset, n is
    the length up to the next reset, of the longest part.

    Images are encoded one by one: steps so long magnify rounding, and that of a batch's features
    depends on its size.
    """

    name = "onzeta"
    paper = "Qian and Hu, Online zero-shot classification with CLIP, ECCV 2024"
    outputs = "probabilities"
    state = ("proxies", "rho", "seen")

    @dataclass(frozen=True)
    class Params:
        """Hyper-parameters; the defaults are those for ImageNet."""

        stream_length: int | None = param(
            None, "n: images of the stream; null for what the run has", unit="images", minimum=1
        )
        proxy_lr: float = param(0.5, "c_w: rate of the proxies", minimum=0.0)
        label_lr: float = param(20.0, "c_r: rate of rho", minimum=0.0)
        temperature: float = param(0.04, "tau: of the proxies' probabilities", minimum=0.001)
        balance: float = param(
            1.0, "alpha: share of an even part that each class is to have", minimum=0.0, maximum=1.0
        )
        proxy_weight: float = param(
            0.8, "beta: of the proxies at the end of the stream", minimum=0.0, maximum=1.0
        )

    @classmethod
    def needs(cls, params: Params) -> frozenset[Need]:
        known = params.stream_length is not None
        return super().needs(params) | (frozenset() if known else {Need.STREAM_LENGTH})

    @torch.no_grad()
    def encoded(self, images: Tensor) -> Iterator[Tensor]:
        for image in images.split(1):
            yield from super().encoded(image)

    def configure(self) -> None:
        self.proxies = F.normalize(self.backbone.class_rows, dim=1)
        self.rho = torch.zeros_like(self.proxies[:, 0])
        self.seen = 0

    @torch.no_grad()
    def episode(self, features: Tensor) -> Tensor:
        feature = features[0]
        text, image, outputs = self._predicted(feature, self.backbone.head(features)[0])
        slowing = 1 / math.sqrt(self.seen + 1)
        self.rho = self._balanced(text, slowing)
        self.proxies = self._moved(feature, image - text, slowing)
        self.seen += 1
        return outputs

    def _predicted(self, feature: Tensor, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return probabilities ``[C]`` of the text and of the proxies, and their mixture."""
        text = (logits + self.rho).softmax(0)
        image = (self.proxies @ feature / self.params.temperature).softmax(0)
        share = min(1.0, (self.seen + 1) / self._length())
        return text, image, text.lerp(image, self.params.proxy_weight * math.sqrt(share))

    def _balanced(self, text: Tensor, slowing: float) -> Tensor:
        lacking = self.params.balance / len(text) - text
        return (self.rho + self.params.label_lr * slowing * lacking).clamp_min(0)

    def _moved(self, feature: Tensor, excess: Tensor, slowing: float) -> Tensor:
        rate = self.params.proxy_lr * slowing / self.params.temperature
        return F.normalize(self.proxies - rate * torch.outer(excess, feature), dim=1)

    def _length(self) -> int:
        known = self.params.stream_length or self.stream_length
        if known is None:
            raise UserError(
                f"method {self.name!r} must know how many images will come: pass stream_length=..."
            )
        return known

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        features = self.backbone.features(images)
        pairs = zip(features, self.backbone.head(features), strict=True)
        return torch.stack([self._predicted(*pair)[2] for pair in pairs])
