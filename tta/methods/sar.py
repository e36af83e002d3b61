"""SAR: sharpness-aware and reliable entropy minimisation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tta.backbones.stages import early_norm_parameters
from tta.methods.base import backward, update
from tta.methods.params import param
from tta.methods.tent import EntropyParams, Tent
from tta.ops.selection import entropy_margin, selected_mean
from tta.ops.sharpness import climb


class Sar(Tent):
    """Minimises the entropy of reliable samples at the worst point near the parameters.

    A first gradient leads uphill, a second, taken there, is applied where the model was. The
    last stages are not trained. When the moving average of the loss falls below a threshold the
    model has collapsed to a constant prediction, and is reset (Niu et al., ICLR 2023).

    The learning rate is what is set, whatever the batch size. The authors' script scales it: for
    ResNets 2.5e-4, times B / 32 below 32; for ViT-B 1e-3, times B / 64; twice that for B = 1.

    Of segmentation the entropies are those of pixels, which are small on the whole: the threshold
    of a collapse is for images, and 0, never, is the default there.
    """

    name = "sar"
    dense = {"lr": 2.5e-4, "recovery_threshold": 0.0}
    paper = "Niu et al., Towards stable test-time adaptation in dynamic wild world, ICLR 2023"
    state = (*Tent.state, "mean_loss")

    @dataclass(frozen=True)
    class Params(EntropyParams):
        """Hyper-parameters; the defaults are those for CIFAR."""

        optimizer: str = param("sgd", "optimiser", choices=("adam", "sgd"))
        nesterov: bool = param(False, "Nesterov momentum (SGD)")
        margin: float = param(
            0.4, "entropy above which a sample is unreliable, as a fraction of ln C", minimum=0.0
        )
        radius: float = param(0.05, "rho: length of the way uphill", minimum=0.0)
        recovery_threshold: float = param(
            0.2, "mean loss below which the model is reset", unit="nats", minimum=0.0
        )
        frozen_share: float = param(
            0.25, "share of the last stages that is not trained", minimum=0.0, maximum=0.75
        )

    def configure(self) -> None:
        super().configure()
        self.margin = entropy_margin(self.params.margin, self.backbone.num_classes)
        self.mean_loss = self.parameters[0].new_full((), math.inf)  # no loss has been seen

    def adapted_parameters(self) -> list[nn.Parameter]:
        return early_norm_parameters(self.backbone, self.params.frozen_share)

    def step(self, images: Tensor) -> Tensor:
        logits = self.backbone(images)
        uncertainty = self.uncertainty(logits)
        reliable = uncertainty < self.margin
        self._backward(selected_mean(uncertainty, reliable))
        before = climb(self.parameters, self.params.radius)
        uncertainty = self.uncertainty(self.backbone(images))
        selected = reliable & (uncertainty < self.margin)
        loss = selected_mean(uncertainty, selected)
        self._backward(loss)
        self._descend(before, loss.detach(), selected.any())
        return logits.detach()

    def _backward(self, loss: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        backward(self.optimizer, loss)

    @torch.no_grad()
    def _descend(self, before: list[Tensor], loss: Tensor, any_selected: Tensor) -> None:
        torch._foreach_copy_(self.parameters, before)
        mean = torch.where(self.mean_loss.isinf(), loss, loss.lerp(self.mean_loss, 0.9))
        self.mean_loss = torch.where(any_selected, mean, self.mean_loss)
        collapsed = self.mean_loss < self.params.recovery_threshold
        # The one wait for the device: both questions decide what the host does next.
        any_selected, collapsed = torch.stack([any_selected, collapsed]).tolist()
        if any_selected:
            update(self.optimizer)
        if collapsed:
            self.reset()
