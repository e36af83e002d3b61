"""OSTTA: entropy minimisation on samples of which adapting makes the network surer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tta.methods.base import descend
from tta.methods.params import param
from tta.methods.tent import EntropyParams, Tent
from tta.ops.losses import marginal_entropy
from tta.ops.selection import selected_mean


class Ostta(Tent):
    """Tent on the samples whose source prediction has not become less sure by adapting.

    Kept is a sample where the adapted network gives the class that the source predicts at least
    the source's own probability: the wisdom of the crowd raises that of known classes and lowers
    what an unknown sample was taken for (Lee et al., ICCV 2023). From the mean entropy of what is
    kept the entropy of the mean prediction of the whole batch is subtracted. The source network
    sees the batch's statistics too, so at the first batch everything is kept; where nothing is,
    that term is left out.

    The authors have published no code: as gaozhengqing/UniEnt has it.
    """

    name = "ostta"
    paper = "Lee et al., Towards open-set test-time adaptation, ICCV 2023"

    @dataclass(frozen=True)
    class Params(EntropyParams):
        """Hyper-parameters."""

        marginal_weight: float = param(
            0.5, "weight of the entropy of the batch's mean prediction", minimum=0.0
        )

    def configure(self) -> None:
        super().configure()
        self.source = self.backbone.clone().requires_grad_(False)

    def step(self, images: Tensor) -> Tensor:
        logits = self.backbone(images)
        with torch.no_grad():
            kept = not_less_sure(logits, self.source(images))
        loss = selected_mean(self.uncertainty(logits), kept)
        descend(self.optimizer, loss - self.params.marginal_weight * marginal_entropy(logits))
        return logits.detach()


def not_less_sure(logits: Tensor, source_logits: Tensor) -> Tensor:
    """Return where logits ``[B, C]`` make the source's class no less likely, a mask ``[B]``."""
    confidence, label = source_logits.softmax(1).max(1)
    return logits.softmax(1).gather(1, label[:, None])[:, 0] >= confidence
