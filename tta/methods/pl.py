"""PL: pseudo-labelling of confident predictions."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from tta.methods.base import descend
from tta.methods.params import OptimizerParams, param
from tta.methods.tent import Tent
from tta.ops.selection import selected_mean


class PseudoLabelling(Tent):
    """Tent with the cross-entropy against its own predicted classes, where it is confident.

    Lee (2013), as an online baseline of Boudiaf et al. (CVPR 2022). A batch without a confident
    prediction changes nothing.
    """

    name = "pl"
    dense = {"optimizer": "sgd", "lr": 2.5e-4}
    paper = "Lee, Pseudo-label: the simple and efficient semi-supervised method, 2013"

    @dataclass(frozen=True)
    class Params(OptimizerParams):
        """Hyper-parameters."""

        threshold: float = param(
            0.9, "confidence that a pseudo-label takes", minimum=0.0, maximum=1.0
        )

    def step(self, images: Tensor) -> Tensor:
        logits = self.backbone(images)
        confidence, label = logits.detach().softmax(1).max(1)
        selected = confidence > self.params.threshold
        # The one wait for the device: with nothing selected, momentum alone would move the model.
        if selected.any():
            losses = F.cross_entropy(logits, label, reduction="none")
            descend(self.optimizer, selected_mean(losses, selected))
        return logits.detach()
