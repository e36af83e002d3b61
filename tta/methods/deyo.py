"""DeYO: entropy is not enough; does the prediction hang on the object's shape?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tta.backbones.stages import early_norm_parameters
from tta.methods.base import descend
from tta.methods.params import OptimizerParams, param
from tta.methods.tent import Tent
from tta.ops.losses import entropy
from tta.ops.selection import entropy_margin, entropy_weight, selected_mean
from tta.ops.views.augment import shuffle_patches


class DestroyYourObject(Tent):
    """Minimises the entropy of samples whose prediction suffers when the object is destroyed.

    The pseudo-label probability difference (PLPD) is how much of the predicted class's
    probability is lost when the image's patches are shuffled. Samples of low entropy and high
    PLPD are adapted to, and weighted by both. The last stages are not trained (Lee et al.,
    ICLR 2024). A batch from which nothing is selected changes nothing.

    The learning rate is what is set, whatever the batch size; the authors' script scales it as
    SAR's does.
    """

    name = "deyo"
    paper = "Lee et al., Entropy is not enough for test-time adaptation, ICLR 2024"

    @dataclass(frozen=True)
    class Params(OptimizerParams):
        """Hyper-parameters."""

        margin: float = param(
            0.5, "entropy above which a sample is unreliable, as a fraction of ln C", minimum=0.0
        )
        weight_margin: float = param(
            0.4, "entropy at which the entropy's weight is 1, as a fraction of ln C", minimum=0.0
        )
        plpd_margin: float = param(0.2, "PLPD to exceed", minimum=-1.0, maximum=1.0)
        patches: int = param(4, "patches per side", minimum=1, maximum=4096)
        frozen_share: float = param(
            0.25, "share of the last stages that is not trained", minimum=0.0, maximum=0.75
        )

    def configure(self) -> None:
        super().configure()
        classes = self.backbone.num_classes
        self.margin = entropy_margin(self.params.margin, classes)
        self.weight_margin = entropy_margin(self.params.weight_margin, classes)

    def adapted_parameters(self) -> list[nn.Parameter]:
        return early_norm_parameters(self.backbone, self.params.frozen_share)

    def step(self, images: Tensor) -> Tensor:
        logits = self.backbone(images)
        entropies = entropy(logits)
        # Waits for the device: batch statistics of the shuffled images are of what is selected.
        reliable = (entropies < self.margin).nonzero().squeeze(1)
        if len(reliable):
            plpd = self._plpd(images[reliable], logits.detach()[reliable])
            self._adapt(entropies[reliable], plpd)
        return logits.detach()

    @torch.no_grad()
    def _plpd(self, images: Tensor, logits: Tensor) -> Tensor:
        destroyed = self.backbone(shuffle_patches(images, self.generator, self.params.patches))
        confidence, label = logits.softmax(1).max(1)
        return confidence - destroyed.softmax(1).gather(1, label[:, None]).squeeze(1)

    def _adapt(self, entropies: Tensor, plpd: Tensor) -> None:
        selected = plpd > self.params.plpd_margin
        if selected.any():
            weights = entropy_weight(entropies, self.weight_margin) + plpd.exp()
            descend(self.optimizer, selected_mean(weights * entropies, selected))
