"""ETA: entropy minimisation on reliable and non-redundant samples."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tta.methods.base import descend
from tta.methods.params import param
from tta.methods.tent import EntropyParams, Tent
from tta.ops.maps import kept_means, over_pixels
from tta.ops.selection import (
    entropy_margin,
    entropy_weight,
    not_redundant,
    selected_mean,
    update_mean_probabilities,
)


class Eta(Tent):
    """Tent on samples of low entropy whose prediction differs from the average prediction.

    Each selected sample is weighted by ``exp(margin - entropy)``. EATA (Niu et al., ICML 2022)
    without its anti-forgetting term. A batch from which nothing is selected changes nothing.

    Of segmentation the entropy is that of pixels; what is compared with the average prediction is
    the mean over an image's pixels of low entropy, as single pixels are of one class and far from
    any average. The published method knows no pixels.
    """

    name = "eta"
    dense = {"optimizer": "sgd", "lr": 2.5e-4}
    paper = "Niu et al., Efficient test-time model adaptation without forgetting, ICML 2022"
    state = (*Tent.state, "mean_probabilities")

    @dataclass(frozen=True)
    class Params(EntropyParams):
        """Hyper-parameters; the defaults are those for CIFAR-10."""

        margin: float = param(
            0.4, "entropy above which a sample is unreliable, as a fraction of ln C", minimum=0.0
        )
        redundancy_margin: float = param(
            0.4, "adapt where |cos| to the mean prediction is below; depends on C", minimum=0.0
        )

    def configure(self) -> None:
        super().configure()
        self.margin = entropy_margin(self.params.margin, self.backbone.num_classes)
        self.mean_probabilities = self.parameters[0].new_zeros(self.backbone.num_classes)

    def step(self, images: Tensor) -> Tensor:
        logits = self.backbone(images)
        uncertainty = self.uncertainty(logits)
        selected = self.select(logits, uncertainty)
        # The one wait for the device: with nothing selected, momentum alone would move the model.
        if selected.any():
            descend(self.optimizer, self.objective(uncertainty, selected))
        return logits.detach()

    @torch.no_grad()
    def select(self, logits: Tensor, uncertainty: Tensor) -> Tensor:
        """Return the mask ``[B, ...]`` of samples to adapt to."""
        reliable = uncertainty < self.margin
        p, selected = kept_means(logits.softmax(1), reliable)
        selected = selected & not_redundant(
            p, self.mean_probabilities, self.params.redundancy_margin
        )
        self.mean_probabilities = update_mean_probabilities(self.mean_probabilities, p, selected)
        return reliable & over_pixels(selected, reliable)

    def objective(self, uncertainty: Tensor, selected: Tensor) -> Tensor:
        """Return the weighted entropy of the selected samples, a scalar."""
        weights = entropy_weight(uncertainty, self.margin)
        return selected_mean(weights * uncertainty, selected)
