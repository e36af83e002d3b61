"""NEO: features of the test stream centred at the origin, with forward passes alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tta.methods.base import SOURCE_NEEDS, Method, Need
from tta.methods.params import param
from tta.source.source_data import SourceData

ORIGIN = "origin"
SOURCE_MEAN = "source_mean"


class Neo(Method):
    """Takes the mean of the test features away from each of them before the classifier.

    With z the features ahead of the classifier and m their mean over all images so far, those of
    the batch included, outputs are ``head(z - m)``: one vector is kept and nothing is trained
    (Murphy et al., ICLR 2026, for vision transformers; any linear classifier will do).
    ``continual`` makes m a moving average that starts at 0, as published, so that the first batches
    are hardly centred. A first batch of a single image is its own mean: its outputs are the
    classifier's bias.

    Features of source images are not centred when the classifier is trained. Where their mean is
    far from the origin, as behind a ReLU, taking it away changes what the classifier adds to each
    class, and may cost more than it gains. ``reference=source_mean``, which is not published, puts
    the test features' mean at the source's: ``head(z - m + source mean)``; the moving average then
    starts there.

    Features that are not finite do not enter the mean.
    """

    name = "neo"
    title = "NEO"
    capturable = True
    paper = (
        "Murphy et al., NEO: no-optimization test-time adaptation through latent re-centering, "
        "ICLR 2026"
    )
    predicts = "after"
    state = ("mean", "seen")
    prepared = ("reference",)

    @dataclass(frozen=True)
    class Params:
        """Hyper-parameters."""

        continual: bool = param(False, "moving average of batch means, not the mean of all images")
        rate: float = param(
            0.1, "alpha: step of the moving average to a batch's mean", minimum=0.0, maximum=1.0
        )
        reference: str = param(
            ORIGIN,
            "where the test features' mean is put; source_mean is not published",
            choices=(ORIGIN, SOURCE_MEAN),
        )

    @classmethod
    def needs(cls, params: Any) -> frozenset[Need]:
        of_source = params.reference == SOURCE_MEAN
        return frozenset({Need.SOURCE_AT_PREPARE} if of_source else ())

    @classmethod
    def keeps_network(cls, params: Any) -> bool:
        return True

    def configure(self) -> None:
        self.mean = self.backbone.mean.new_zeros(self.backbone.feature_dim)
        self.seen = self.mean.new_zeros((), dtype=torch.long)

    @torch.no_grad()
    def prepare(self, source: SourceData | None) -> None:
        if self.needs(self.params) & SOURCE_NEEDS:
            for images, _ in source.one_pass():
                self._follow(self.backbone.features(images), None)
            self.seen.zero_()
        self.reference = self.mean.clone()

    @torch.no_grad()
    def step(self, images: Tensor) -> Tensor:
        features = self.backbone.features(images)
        self._follow(features, self.params.rate if self.params.continual else None)
        return self._classify(features)

    def _follow(self, features: Tensor, rate: float | None) -> None:
        """Move the mean towards that of features ``[B, D]``: by ``rate``, or by their share."""
        finite = features.isfinite().all(1)
        count = finite.sum()
        mean = torch.where(finite[:, None], features, 0).sum(0) / count.clamp_min(1)
        self.seen += count
        share = count / self.seen.clamp_min(1) if rate is None else rate * (count > 0)
        self.mean.lerp_(mean, share.to(mean.dtype))

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        return self._classify(self.backbone.features(images))

    def _classify(self, features: Tensor) -> Tensor:
        return self.backbone.head(features + (self.reference - self.mean))
