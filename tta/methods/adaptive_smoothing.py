"""Adaptive smoothing: the mixed probabilities of an accurate and a robust classifier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tta.backbones.backbone import Backbone
from tta.foundation.errors import UserError
from tta.methods.adaptive_smoothing_policy import confidences, fitted_policy
from tta.methods.base import Method, Need
from tta.methods.params import param
from tta.ops.losses import entropy
from tta.source.source_data import SourceData
from tta.tasks.known_scores import negative_entropy


class AdaptiveSmoothing(Method):
    """Mixes the probabilities of the source model g and of a robust one h; nothing is trained.

    Outputs are ``log((1 - a) softmax(s_g g(x)) + a softmax(s_h h(x)))`` (Bai et al., SIAM J. Math.
    Data Sci. 2024): log-probabilities, whose softmax they are themselves. Mixing probabilities and
    not logits keeps h's margin: where h is sure by more than ``(1 - a) / a``, nothing that happens
    to g changes the class. h is the second model of the run: ``--cloud-backbone``,
    ``--cloud-weights``; both see the same images.

    The paper's are the formula, the scales and ``policy="fixed"``, whose default is its
    ``sigmoid(2.5)``; also the range of a in which its policy moves. That policy is a network on
    inner features of its two models, trained on attacked images, and is not here. In its place are
    two of our own:

    - ``policy="entropy"``, per image the ``a`` that gives the surer mixture. Entropy is concave in
      ``a``: its least value over a range is at one of the ends, and only these are looked at.
    - ``policy="fitted"``, a logistic function of the confidences of both models, fitted before the
      stream by the likelihood of the labels of source images, clean and with Gaussian noise.

    The published code takes the logarithm of the mixture, which is -inf where both probabilities
    underflow; here it is calculated from log-probabilities.
    """

    name = "adaptive_smoothing"
    paper = (
        "Bai et al., Improving the accuracy-robustness trade-off of classifiers via adaptive "
        "smoothing, SIAM Journal on Mathematics of Data Science 2024"
    )
    second_model = "second, robust model"
    prepared = ("weights",)

    @dataclass(frozen=True)
    class Params:
        """Hyper-parameters; the defaults are those for CIFAR-10."""

        policy: str = param(
            "fixed",
            "what chooses alpha: nothing, or, of our own, the surer mixture or a fitted function",
            choices=("fixed", "entropy", "fitted"),
        )
        alpha: float = param(
            0.9241418, "share of the robust model where it is fixed", minimum=0.0, maximum=1.0
        )
        standard_scale: float = param(1.2, "s_g, of the source model's logits", minimum=1e-6)
        robust_scale: float = param(0.5, "s_h, of the robust model's logits", minimum=1e-6)
        least_alpha: float = param(
            0.84, "least alpha that a policy chooses", minimum=0.0, maximum=1.0
        )
        greatest_alpha: float = param(
            0.99, "greatest alpha that a policy chooses", minimum=0.0, maximum=1.0
        )
        fit_images: int = param(
            2000, "source images that a policy is fitted to", unit="images", minimum=1
        )
        fit_noise: float = param(
            0.3,
            "greatest standard deviation of the noise on their copies, of pixels in [0, 1]",
            minimum=0.0,
            maximum=10.0,
        )

    @classmethod
    def needs(cls, params: Any) -> frozenset[Need]:
        fitted = {Need.SOURCE_AT_PREPARE, Need.SOURCE_LABELS} if params.policy == "fitted" else ()
        return frozenset({Need.CLOUD_MODEL, *fitted})

    @classmethod
    def keeps_network(cls, params: Any) -> bool:
        return True

    def configure(self) -> None:
        least, greatest = self.params.least_alpha, self.params.greatest_alpha
        if least > greatest:
            raise UserError(
                f"{self.name}.least_alpha {least:g} is above greatest_alpha {greatest:g}: set it "
                "to this or less"
            )
        self.weights = self.backbone.mean.new_zeros(0)

    def attach_model(self, model: Backbone) -> None:
        self.robust = model
        model.passes = self.backbone.passes  # both are passes that an image costs

    def prepare(self, source: SourceData | None) -> None:
        if self.params.policy == "fitted" and source is not None:
            self.weights = fitted_policy(
                self._models, source, self._range, self.params, self.generator
            )

    @property
    def _range(self) -> tuple[float, float]:
        return self.params.least_alpha, self.params.greatest_alpha

    @torch.no_grad()
    def _models(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the log-probabilities ``[B, C]`` of both models."""
        standard = self.params.standard_scale * self.backbone(images)
        robust = self.params.robust_scale * self.robust(images)
        return standard.log_softmax(1), robust.log_softmax(1)

    def step(self, images: Tensor) -> Tensor:
        return self.predict(images)

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        standard, robust = self._models(images)
        return mixed(standard, robust, self._alpha(standard, robust))

    def _alpha(self, standard: Tensor, robust: Tensor) -> Tensor:
        """Return the robust model's share ``[B, 1]``, or one for all ``[]``."""
        least, greatest = (standard.new_full((), end) for end in self._range)
        if self.params.policy == "entropy":
            low, high = (entropy(mixed(standard, robust, end)) for end in (least, greatest))
            return torch.where(low <= high, least, greatest)[:, None]
        if self.params.policy == "fitted":
            share = (confidences(standard, robust) @ self.weights).sigmoid()
            return least.lerp(greatest, share)[:, None]
        return standard.new_full((), self.params.alpha)

    def score(self, outputs: Tensor) -> Tensor:
        """Return minus the entropy ``[B]``: log-probabilities have no energy."""
        return negative_entropy(outputs, self.outputs)


def mixed(standard: Tensor, robust: Tensor, alpha: Tensor) -> Tensor:
    """Return ``log((1 - alpha) exp(standard) + alpha exp(robust))``.

    Args:
        standard: log-probabilities ``[B, C]``.
        robust: likewise.
        alpha: ``[B, 1]`` or ``[]``, from 0 to 1.
    """
    return torch.logaddexp(standard + (-alpha).log1p(), robust + alpha.log())
