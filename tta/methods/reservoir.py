"""ReservoirTTA: copies of a method, one for each style of domain, around any method."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tta.methods.base import Need
from tta.methods.params import param
from tta.methods.plug_in import PlugIn, PlugInParams
from tta.methods.reservoir_clusters import StyleClusters, distance_quantile
from tta.methods.reservoir_copies import Copy, averaged, copy_of, learns, take
from tta.methods.reservoir_styles import model_styles, vgg_styles
from tta.source.source_data import SourceBatches, SourceData
from tta.tasks.metrics import log_probabilities


class Reservoir(PlugIn):
    """Keeps a copy of a method for each kind of domain that comes, and adapts the nearest alone.

    A domain is told by its style, the variances of early maps over a batch. Where a full batch is
    farther from all centroids than source batches are from each other, a copy is added: that of
    the stored ones which is most certain and most diverse on the batch. A batch is predicted by
    the mean of all copies' weights, by the batch's shares in their clusters, before the nearest
    copy takes its step (Vray et al., 2025).

    A copy has all of the state of the method inside: what it trains, its optimiser, EATA's mean
    prediction and SAR's mean loss, as in the published code for TENT, EATA, SAR and ROID; and what
    other methods keep, such as memories of images, counts of steps, PALM's rates and POEM's bets,
    of which a copy is stored once more and two are moved with every batch: 16 times TEA's 123 MB
    are 2 GB. ``memories=common`` leaves to all in common what is neither trained nor a tensor, as
    runs had it before there was a choice. The place in the source stream always is. A method that
    learns by no optimiser, or goes back to its start with every batch, or keeps courses of its own
    (lame, t3a, memo, asr, imse) is as by itself.

    Styles are published as those of a VGG-19 with ImageNet weights (``style=vgg19``); by default
    they are those of the first stage of the source model itself, for which nothing is loaded.
    """

    name = "reservoir"
    paper = "Vray et al., ReservoirTTA: prolonged test-time adaptation, NeurIPS 2025"
    resets_often = False
    state = (*PlugIn.state, "copies", "clusters")
    prepared = ("centre", "threshold")

    @dataclass(frozen=True)
    class Params(PlugInParams):
        """Hyper-parameters; those of the method inside are ``inner.NAME``."""

        copies: int = param(16, "copies at most", minimum=1, maximum=4096)
        styles_kept: int = param(
            1024, "past styles kept, once there are all copies", unit="styles", minimum=1
        )
        quantile: float = param(
            0.999,
            "of the distances between source styles, beyond which a copy is added",
            minimum=0.0,
            maximum=1.0,
        )
        source_styles: int = param(
            1000, "source batches whose styles are compared", unit="batches", minimum=2
        )
        style: str = param(
            "model",
            "whose early maps tell styles: the source model's, or VGG-19's on ImageNet",
            choices=("model", "vgg19"),
        )
        memories: str = param(
            "own",
            "whether a copy has memories of its own, or all share those of the method inside",
            choices=("own", "common"),
        )
        ensemble: bool = param(True, "predict by the mean of the copies, not by the nearest")

    @classmethod
    def needs(cls, params: Any) -> frozenset[Need]:
        return super().needs(params) | {Need.SOURCE_AT_PREPARE}

    def configure(self) -> None:
        device = self.backbone.mean.device
        by_vgg = self.params.style == "vgg19"
        self.style_of = vgg_styles(device) if by_vgg else model_styles(self.backbone)
        super().configure()
        self.learns = learns(self.inner)
        if self.learns:
            self.predicts = "before"
        self.copies: list[Copy] = []

    def prepare(self, source: SourceData) -> None:
        super().prepare(source)
        styles = torch.stack(list(self._source_styles(source)))
        self.centre = styles.mean(0)
        self.threshold = distance_quantile(styles, self.params.quantile)
        self._begin()

    def _source_styles(self, source: SourceData) -> Iterator[Tensor]:
        batches = SourceBatches(source)
        for _ in range(self.params.source_styles):
            images, _labels = next(batches)
            yield self.style_of(images)

    def _begin(self) -> None:
        kept = max(self.params.styles_kept // self.params.copies, 1)
        self.clusters = StyleClusters(self.centre, self.params.copies, kept)
        self.copies = [self._copy()]

    def _copy(self) -> Copy:
        return copy_of(self.inner, self.params.memories == "own")

    def take_prepared(self, tensors: dict[str, Any]) -> None:
        super().take_prepared(tensors)
        self._begin()

    def step(self, images: Tensor) -> Tensor:
        if not self.learns:
            return super().step(images)
        self.hand_down()
        may_add = len(images) == (self.usual_batch or len(images))
        style = self.style_of(images)
        shares, is_new = self.clusters.assign(style, self.threshold, may_add, self.generator)
        if is_new:
            self.copies.append(copy.deepcopy(self._most_informative(images)))
        nearest = int(shares.argmax())  # waits for the device: the host loads that copy
        outputs = self._predict(images, shares, nearest)
        take(self.inner, self.copies[nearest])
        self.inner.step(images)
        self.copies[nearest] = self._copy()
        return outputs

    def _predict(self, images: Tensor, shares: Tensor, nearest: int) -> Tensor:
        chosen = self.copies[nearest]
        if self.params.ensemble and len(self.copies) > 1:
            chosen = averaged(self.inner, self.copies, shares, nearest)
        take(self.inner, chosen)
        return self.inner.predict(images)

    def _most_informative(self, images: Tensor) -> Copy:
        """Return the copy whose entropy is least, beside that of its mean prediction."""
        values = []
        for stored in self.copies:
            take(self.inner, stored)
            values.append(_undecided(log_probabilities(self.inner.predict(images), self.outputs)))
        # Waits for the device, where a copy is added alone: the host copies the one that is chosen.
        return self.copies[int(torch.stack(values).argmin())]


def _undecided(log_p: Tensor) -> Tensor:
    """Return the mean entropy of predictions minus the entropy of their mean, a scalar."""
    p = log_p.exp()
    mean = p.mean(0)
    return -torch.special.xlogy(p, p).sum(1).mean() + (mean * (mean + 1e-8).log()).sum()
