"""TEA: test-time energy adaptation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tta.foundation.from_host import from_host
from tta.methods.base import Method, Need, descend, make_optimizer, trainable
from tta.methods.params import OptimizerParams, param
from tta.methods.tea_buffer import ReplayBuffer
from tta.ops.generators import generator_on
from tta.ops.loss_scaling import scaled
from tta.ops.norm.batch_norm import replace_batch_norm
from tta.ops.parameters import norm_affine_parameters


class Tea(Method):
    """Lowers the energy of test images against that of images which the network makes up.

    The energy of an image is minus the logsumexp of its logits. With every batch as many images
    are sampled by stochastic gradient Langevin dynamics, ``steps`` times

        x <- x + step_size * gradient of logsumexp f(x) + noise * N(0, 1),

    from images of a replay buffer, where they are put back, or with probability ``fresh_share``
    from uniform noise. Affine parameters of norm layers take a step down the mean energy of the
    test images less that of the sampled ones, each with batch statistics of their own. Outputs
    are of a further pass, after the update (Yuan et al., CVPR 2024). ``conditional`` samples by
    the logit of a class that is drawn for each image, in place of logsumexp.

    As in the published code, sampled images start between -1 and 1, where test images are between
    0 and 1, and are not held to any range. Its buffer outlives a reset, and its script resets
    before every domain; here a reset empties it. A sample that is not finite is given up for what
    it started from.

    A step costs ``steps`` passes forward and backward to the pixels, beside three forward and one
    backward. The buffer takes ``12 buffer_size H W`` bytes on the device, 123 MB for images with 32
    pixels to a side and 6 GB with 224, and a saved state as much of it as has been filled.
    """

    name = "tea"
    title = "TEA"
    paper = "Yuan et al., TEA: test-time energy adaptation, CVPR 2024"
    predicts = "after"
    state = ("parameters", "optimizer", "buffer")

    @dataclass(frozen=True)
    class Params(OptimizerParams):
        """Hyper-parameters; the defaults are those for CIFAR-10-C."""

        steps: int = param(20, "Langevin steps", unit="steps", minimum=1, maximum=10_000)
        step_size: float = param(0.1, "of a Langevin step, times the gradient", minimum=0.0)
        noise: float = param(0.01, "standard deviation of a step's noise", minimum=0.0)
        buffer_size: int = param(
            10_000, "images in the replay buffer", unit="images", minimum=1, maximum=1_000_000
        )
        fresh_share: float = param(
            0.05, "probability of starting from new noise", minimum=0.0, maximum=1.0
        )
        conditional: bool = param(False, "sample for classes that are drawn, not for all")

    @classmethod
    def needs(cls, params: Any) -> frozenset[Need]:
        return frozenset({Need.NORM_AFFINE})

    def configure(self) -> None:
        replace_batch_norm(self.backbone)
        self.parameters = trainable(norm_affine_parameters(self.backbone))
        self.optimizer = make_optimizer(self.parameters, self.params)
        self.buffer = ReplayBuffer(self.params.buffer_size, self.backbone.mean.device)

    def step(self, images: Tensor) -> Tensor:
        sampled = self._sample(images)
        descend(self.optimizer, energy_gap(self.backbone(images), self.backbone(sampled)))
        return self.predict(images)

    def _sample(self, like: Tensor) -> Tensor:
        """Return as many images as there are, sampled by the energy of the network as it is."""
        start, places = self.buffer.draw(like, self.params.fresh_share, self.generator)
        labels = self._labels(like) if self.params.conditional else None
        generator, images = generator_on(like.device, self.generator), start
        for _ in range(self.params.steps):
            drawn = torch.randn(like.shape, generator=generator, device=like.device)
            images = images + self.params.step_size * self._ascent(images, labels)
            images = images.add_(drawn, alpha=self.params.noise)
        finite = images.isfinite().flatten(1).all(1)
        images = torch.where(finite.view(-1, 1, 1, 1), images, start)
        self.buffer.store(images, places)
        return images

    def _labels(self, images: Tensor) -> Tensor:
        classes = self.backbone.num_classes
        labels = torch.randint(classes, (len(images), 1), generator=self.generator)
        return from_host(labels, images.device)

    def _ascent(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """Return the gradient of logsumexp, or of the labels' logits, by the pixels."""
        images = images.detach().requires_grad_(True)
        logits = self.backbone(images)
        values = logits.logsumexp(1) if labels is None else logits.gather(1, labels)
        (gradient,) = torch.autograd.grad(scaled(self.optimizer, values.sum()), [images])
        return gradient / scaled(self.optimizer, gradient.new_ones(()))


def energy_gap(real: Tensor, sampled: Tensor) -> Tensor:
    """Return the mean energy of real images less that of sampled ones, of logits ``[B, C]``."""
    return sampled.logsumexp(1).mean() - real.logsumexp(1).mean()
