"""PALM: pushing adaptive learning rate mechanisms for continual test-time adaptation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from tta.methods.base import Method, Need, descend, make_optimizer, trainable
from tta.methods.palm_rates import Rates, move
from tta.methods.params import OptimizerParams, param
from tta.ops.loss_scaling import unscaled_gradients
from tta.ops.losses import entropy, soft_cross_entropy
from tta.ops.norm.batch_norm import replace_batch_norm
from tta.ops.parameters import convolution_parameters, norm_affine_parameters
from tta.ops.selection import selected_mean
from tta.ops.views.augment import CottaAugment


class Palm(Method):
    """Trains the tensors of which predictions are uncertain, each at a learning rate of its own.

    The gradient of the divergence between tempered predictions and the uniform distribution, which
    takes no label, says how certain they are of a tensor: where its L1 norm is small, the tensor
    is selected. Its rate is how far the sensitivity ``|weight x gradient|`` is from its moving
    average, as a share of that, averaged over the tensor. The step is down the entropy of certain
    images and the cross-entropy between all and an augmented view. Batch norm uses the statistics
    of the batch; outputs are those before the update (Maharana et al., AAAI 2025).

    As in the published code, by which the figures were made: the entropy below which an image is
    certain is in nats, whatever the number of classes; the optimiser starts anew with every batch,
    so that Adam's step is the learning rate in the direction of each gradient's sign; a tensor that
    is no longer selected keeps its latest rate, and only one that never was has none. Where no
    image is certain, or one is not of numbers, no step is taken; there it ends in NaN.
    """

    name = "palm"
    title = "PALM"
    paper = "Maharana et al., PALM: pushing adaptive learning rate mechanisms, AAAI 2025"
    state = ("parameters", "optimizer", "rates")

    @dataclass(frozen=True)
    class Params(OptimizerParams):
        """Hyper-parameters; the defaults are the authors' for CIFAR-10."""

        lr: float = param(5e-4, "learning rate, before a tensor's own", minimum=0.0)
        temperature: float = param(
            50.0, "tau: of the predictions that are compared with the uniform", minimum=1e-6
        )
        largest_score: float = param(
            1.0, "eta: L1 norm of a gradient up to which its tensor is selected", minimum=0.0
        )
        sensitivity_decay: float = param(
            0.5, "beta_3: share of the mean sensitivity that a batch keeps", minimum=0.0, below=1.0
        )
        margin: float = param(
            0.4, "entropy below which an image is certain", unit="nats", minimum=0.0
        )
        consistency_weight: float = param(
            0.01, "lambda: weight of the augmented view, times the number of classes", minimum=0.0
        )

    @classmethod
    def needs(cls, params: Any) -> frozenset[Need]:
        return frozenset({Need.NORM_AFFINE})

    def configure(self) -> None:
        replace_batch_norm(self.backbone)
        found = norm_affine_parameters(self.backbone) + convolution_parameters(self.backbone)
        self.parameters = trainable(list(dict.fromkeys(found)))
        self.optimizer = make_optimizer(self.parameters, self.params)
        self.rates = Rates(
            self.parameters, self.params.largest_score, self.params.sensitivity_decay
        )
        self.augment = CottaAugment()

    def step(self, images: Tensor) -> Tensor:
        logits = self._rated(images)
        view = self.backbone(self.augment(images, self.generator))
        certain = entropy(logits.detach()) < self.params.margin
        before = [parameter.detach().clone() for parameter in self.parameters]
        loss = self._loss(logits, view, certain)
        descend(self.optimizer, loss)
        learns = certain.any() & loss.detach().isfinite()
        move(self.parameters, before, self.rates.of_tensors * learns)
        self.optimizer.state.clear()
        return logits.detach()

    def _rated(self, images: Tensor) -> Tensor:
        """Rate the tensors by the predictions for images, and return these: logits ``[B, C]``."""
        logits = self.backbone(images)
        # Compiled code frees what a backward pass has read: there it is a pass more.
        again = self.backbone.compilation is not None
        loss = self._certainty(logits)
        self.rates.update(
            unscaled_gradients(self.optimizer, loss, self.parameters, retain_graph=not again)
        )
        return self.backbone(images) if again else logits

    def _certainty(self, logits: Tensor) -> Tensor:
        """Return the cross-entropy of tempered predictions against ones, a scalar."""
        return -(logits / self.params.temperature).log_softmax(1).sum(1).mean()

    def _loss(self, logits: Tensor, view: Tensor, certain: Tensor) -> Tensor:
        consistency = soft_cross_entropy(view, logits).mean()
        weight = self.params.consistency_weight * logits.shape[1]
        return selected_mean(entropy(logits), certain) + weight * consistency
