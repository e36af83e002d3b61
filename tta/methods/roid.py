"""ROID: weighted self-training, weight ensembling and prior correction."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tta.methods.base import descend
from tta.methods.params import OptimizerParams, param
from tta.methods.tent import Tent
from tta.ops.ema import ema_update
from tta.ops.losses import soft_likelihood_ratio, symmetric_cross_entropy
from tta.ops.maps import class_vector, rows
from tta.ops.prior_correction import correct_prior
from tta.ops.selection import diversity_certainty_weights
from tta.ops.views.augment import ROID_AUGMENT, ROID_PHOTOMETRIC


class Roid(Tent):
    """Trains on diverse and certain samples, drawn back to the source after every step.

    Loss of a selected sample x with augmented view T(x): the soft likelihood ratio of x and the
    symmetric cross-entropy between T(x) and x, which trains both. Outputs are those before the
    update, corrected by the smoothed class prior of the batch (Marsden et al., WACV 2024). The
    corrected logits keep the scale of the model's, a factor C over the published code's: other
    confidences, the same predictions.

    A short batch counts in full, and in a window of a stream of single images the loss is the
    window's mean. ``compat=True`` follows the code of mariodoebler/test-time-adaptation, which
    divides by the usual batch size: a short batch counts less, and with batch size 1 the loss of a
    window is its sum, a window's length as much (with SGD; Adam hardly minds). Between two updates
    it predicts without the correction by the prior.

    Of segmentation samples are pixels: weights are compared over all those of a batch. Views change
    colours alone, so that pixels meet, and outputs are not corrected by a prior: that of images
    tells of a batch's classes, and none is defined for pixels.
    """

    name = "roid"
    dense = {"optimizer": "sgd", "lr": 2.5e-4}
    paper = "Marsden et al., Universal test-time adaptation through weight ensembling, WACV 2024"
    state = (*Tent.state, "mean_probabilities")

    @dataclass(frozen=True)
    class Params(OptimizerParams):
        """Hyper-parameters."""

        temperature: float = param(1 / 3, "temperature of the sample weights", minimum=1e-6)
        source_decay: float = param(
            0.99, "share of the adapted parameters that a step keeps", minimum=0.0, maximum=1.0
        )
        probability_decay: float = param(
            0.9, "EMA decay of the mean prediction", minimum=0.0, maximum=1.0
        )
        compat: bool = param(False, "follow a toolbox, see the method's documentation")

    def configure(self) -> None:
        super().configure()
        classes = self.backbone.num_classes
        self.mean_probabilities = self.parameters[0].new_full((classes,), 1 / classes)
        self.source_parameters = [parameter.detach().clone() for parameter in self.parameters]

    def step(self, images: Tensor) -> Tensor:
        logits = self.adapt(images)
        return logits if self.backbone.dense else correct_prior(logits)

    def adapt(self, images: Tensor) -> Tensor:
        """Update the model on ``images`` and return their logits from before, uncorrected."""
        logits = self.backbone(images)
        weights = self._weigh(logits)
        # Waits for the device: in the augmented view, batch statistics are of what is selected.
        selected = weights.reshape(len(weights), -1).amax(1).nonzero().squeeze(1)
        if len(selected):
            self._adapt(images, logits, weights, selected)
            self.ensemble()
        return logits.detach()

    def _adapt(self, images: Tensor, logits: Tensor, weights: Tensor, selected: Tensor) -> None:
        augment = ROID_PHOTOMETRIC if self.backbone.dense else ROID_AUGMENT
        view = self.backbone(augment(images[selected], self.generator))
        counted = weights[selected].unsqueeze(1) > 0  # others may be no numbers, and NaN x 0 is NaN
        chosen, view = (torch.where(counted, z, 0.0) for z in (logits[selected], view))
        losses = soft_likelihood_ratio(chosen) + symmetric_cross_entropy(view, chosen)
        count = (self.params.compat and self.usual_batch) or len(images)
        count *= weights[0].numel()  # pixels, or an image
        descend(self.optimizer, (weights[selected] * losses).sum() / count)

    @torch.no_grad()
    def _weigh(self, logits: Tensor) -> Tensor:
        mean, temperature = self.mean_probabilities, self.params.temperature
        weights = diversity_certainty_weights(logits, mean, temperature)
        finite = logits.isfinite().all(1, keepdim=True)
        # The others leave the mean as it is.
        p = rows(torch.where(finite, logits.softmax(1), class_vector(mean, logits)))
        ema_update([mean], [p.mean(0)], self.params.probability_decay)
        return weights

    def ensemble(self) -> None:
        """Average the parameters with the source's."""
        ema_update(self.parameters, self.source_parameters, self.params.source_decay)

    def predict(self, images: Tensor) -> Tensor:
        logits = super().predict(images)
        plain = self.params.compat or self.backbone.dense
        return logits if plain else correct_prior(logits)
