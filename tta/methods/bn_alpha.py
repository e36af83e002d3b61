"""alpha-BN: source statistics calibrated with those of the test batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from tta.foundation.errors import UserError
from tta.methods.base import Method, Need
from tta.methods.params import param
from tta.ops.norm.batch_norm import AdaptiveBatchNorm, replace_batch_norm, require_source_statistics


class AlphaBatchNorm(Method):
    """Mixes source and test-batch statistics in every batch-norm layer; trains nothing.

    You, Li and Zhao (arXiv 2110.04065). Papers disagree on which side their alpha weighs: where
    it weighs the source, ``target_weight = 1 - alpha``; where it weighs the test batch,
    ``target_weight = alpha``. 0 is the source model and 1 is BN-1, both exactly. ``prior`` is
    the sample-size rule of Schneider et al. (NeurIPS 2020).
    """

    name = "bn_alpha"
    capturable = True
    dense = {}
    paper = "You et al., Test-time batch statistics calibration for covariate shift, 2021"

    @dataclass(frozen=True)
    class Params:
        """Hyper-parameters."""

        target_weight: float = param(
            0.1, "weight of the test batch's statistics", minimum=0.0, maximum=1.0
        )
        prior: float | None = param(
            None,
            "weigh the test batch by n / (n + prior) instead, n images in the batch",
            unit="images",
            minimum=0.0,
        )
        layer_weights: tuple[float, ...] | None = param(
            None,
            "a target weight per batch-norm layer instead, in module order; two values are "
            "interpolated from the first layer to the last",
            minimum=0.0,
            maximum=1.0,
        )
        between_means: bool = param(
            False, "add the distance of the means to the variance, as TTN does"
        )
        compat: bool = param(
            False, "unbiased batch variance, as in toolboxes that read it from a running buffer"
        )

    @classmethod
    def needs(cls, params: Any) -> frozenset[Need]:
        return frozenset({Need.BATCH_NORM})

    def configure(self) -> None:
        if self.params.prior is not None and self.params.layer_weights is not None:
            raise UserError(
                "bn_alpha.prior gives all layers one target weight and bn_alpha.layer_weights each "
                "its own; set one of them"
            )
        require_source_statistics(self.backbone)
        self.layers = replace_batch_norm(self.backbone, self._layer)
        if self.params.layer_weights is not None:
            weights = spread(self.params.layer_weights, len(self.layers))
            for layer, weight in zip(self.layers, weights, strict=True):
                layer.target_weight = weight

    def _layer(self, layer: _BatchNorm) -> AdaptiveBatchNorm:
        params = self.params
        return AdaptiveBatchNorm(layer, params.target_weight, params.compat, params.between_means)

    def step(self, images: Tensor) -> Tensor:
        return self.predict(images)

    def predict(self, images: Tensor) -> Tensor:
        if self.params.prior is not None:
            for layer in self.layers:
                layer.target_weight = len(images) / (len(images) + self.params.prior)
        return super().predict(images)


def spread(weights: tuple[float, ...], count: int) -> list[float]:
    """Return one weight per layer: as given, or two interpolated over ``count`` layers.

    A lone layer takes the first of two.

    Raises:
        UserError: neither ``count`` weights nor two.
    """
    if len(weights) == count:
        return list(weights)
    if len(weights) != 2:
        raise UserError(
            f"bn_alpha.layer_weights holds {len(weights)} weights, but the backbone has {count} "
            f"batch-norm layers; give {count} weights, or the first layer's and the last's"
        )
    first, last = weights
    return [first + (last - first) * number / max(count - 1, 1) for number in range(count)]
