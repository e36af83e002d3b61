"""TTAug: the mean prediction over augmented views of an image; nothing is trained."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tta.methods.base import Method
from tta.methods.params import param
from tta.ops.losses import mean_log_probabilities
from tta.ops.norm.batch_norm import AdaptiveBatchNorm, replace_batch_norm, require_source_statistics
from tta.ops.views.augmix import AugMix


class AveragedViews(Method):
    """Averages the predicted probabilities of an image and of its AugMix views.

    The baseline of MEMO (Zhang et al., NeurIPS 2022), with its views and its batch-norm layers,
    which mix source statistics with those of the one image and its views. Each image is taken
    for itself, whatever the batch size. Outputs are logarithms of mean probabilities.

    ``compat=True`` follows the code of mariodoebler/test-time-adaptation: the mean is that of
    logits, the batch variance is unbiased, one-dimensional batch-norm layers (a bottleneck's)
    keep the source statistics alone, and what operations move into view is black (in MEMO's own
    code it is dark red, which is what Pillow makes of the 128 that is written there).
    """

    name = "ttaug"
    paper = "Krizhevsky et al., ImageNet classification, NeurIPS 2012; views of MEMO, NeurIPS 2022"

    @dataclass(frozen=True)
    class Params:
        """Hyper-parameters; the defaults are those for CIFAR."""

        views: int = param(32, "augmented views per image", unit="views", minimum=1, maximum=4096)
        crop: str = param(
            "padded",
            "views shifted by up to 4 pixels (CIFAR), or a part of the image enlarged (ImageNet)",
            choices=("padded", "resized"),
        )
        target_weight: float = param(
            0.1,
            "weight of the test statistics; 1 / (N + 1) for the prior strength N of MEMO's code",
            minimum=0.0,
            maximum=1.0,
        )
        compat: bool = param(False, "follow a toolbox, see the method's documentation")

    def configure(self) -> None:
        require_source_statistics(self.backbone)
        replace_batch_norm(self.backbone, self._layer)
        fill = (0, 0, 0) if self.params.compat else (128, 128, 128)
        self.augment = AugMix(self.params.crop, fill)

    def _layer(self, layer: _BatchNorm) -> AdaptiveBatchNorm:
        compat = self.params.compat
        as_source = compat and isinstance(layer, nn.BatchNorm1d)
        weight = 0.0 if as_source else self.params.target_weight
        return AdaptiveBatchNorm(layer, weight, unbiased=compat, constant_moments=True)

    def views(self, image: Tensor) -> Tensor:
        """Return augmented views ``[views, 3, H, W]`` of an image ``[1, 3, H, W]``."""
        return self.augment(image.expand(self.params.views, -1, -1, -1), self.generator)

    @torch.no_grad()
    def step(self, images: Tensor) -> Tensor:
        return torch.stack([self._average(image) for image in images.split(1)])

    def _average(self, image: Tensor) -> Tensor:
        logits = self.backbone(torch.cat([image, self.views(image)]))
        return logits.mean(0) if self.params.compat else mean_log_probabilities(logits)

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        """Return outputs of the images themselves, without views, one by one."""
        return torch.cat([self.backbone(image) for image in images.split(1)])
