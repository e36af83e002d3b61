"""UnMix-TNS: un-mixed test-time normalisation statistics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from tta.methods.base import Method, Need
from tta.methods.params import param
from tta.ops.norm.batch_norm import following, replace_batch_norm, require_source_statistics
from tta.ops.norm.unmixed import UnmixedBatchNorm, Unmixing


class UnmixTns(Method):
    """Normalises each image by several components of the statistics, which follow the stream.

    Every batch-norm layer keeps K means and variances, drawn about the source's from the seed. An
    image has a share in each, the softmax over the cosines between its channel means and theirs;
    it is normalised by what all of them, each moved towards it by its share, make together, so
    that images of one class in a row do not become the statistics. Then the components move
    towards the images by their shares. Nothing is trained (Tomar et al., ICLR 2024).

    The published code leaves the distance between an image's mean and a component's out of the
    moved variance (the term stands in a comment), and so do its figures and the default here;
    ``between_means=true`` has it. The step is by the images in a batch, there by the configured
    batch size: a short batch counts for less here. What is drawn differs between seeds, by points
    in a short stream; a reset returns to the same draw.
    """

    name = "unmix_tns"
    title = "UnMix-TNS"
    capturable = True
    dense = {}
    paper = "Tomar et al., Un-mixing test-time normalization statistics, ICLR 2024"
    state = ("statistics",)

    @dataclass(frozen=True)
    class Params:
        """Hyper-parameters; the authors have 128 components where domains are mixed."""

        components: int = param(
            16, "K: means and variances that a layer keeps", minimum=1, maximum=4096
        )
        spread: float = param(
            0.5,
            "alpha: share of the source variance between the components at the start",
            minimum=0.0,
            maximum=1.0,
        )
        momentum: float = param(
            0.1, "step of the components to a whole batch", minimum=0.0, maximum=1.0
        )
        whole_batch: int = param(
            64, "images in a whole batch; of fewer the step is smaller", unit="images", minimum=1
        )
        between_means: bool = param(
            False, "count the distance from image to component in the variance; not published"
        )

    @classmethod
    def needs(cls, params: Any) -> frozenset[Need]:
        return frozenset({Need.BATCH_NORM})

    def configure(self) -> None:
        require_source_statistics(self.backbone)
        self.layers = replace_batch_norm(self.backbone, self._layer)
        self.statistics = [tensor for layer in self.layers for tensor in layer.components]

    def _layer(self, layer: _BatchNorm) -> UnmixedBatchNorm:
        params = self.params
        noise = torch.randn(params.components, layer.num_features, generator=self.generator)
        unmixing = Unmixing(
            params.spread, params.momentum, params.whole_batch, params.between_means
        )
        return UnmixedBatchNorm(layer, noise, unmixing)

    def step(self, images: Tensor) -> Tensor:
        with following(self.layers):
            return self.predict(images)
