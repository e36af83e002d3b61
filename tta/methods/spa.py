"""SPA: self-bootstrapping, the prediction of a degraded view led to that of the whole image."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tta.methods.base import Method, Need, backward, make_optimizer, trainable, update
from tta.methods.params import OptimizerParams, param
from tta.ops.losses import entropy, soft_cross_entropy
from tta.ops.norm.batch_norm import replace_batch_norm
from tta.ops.parameters import norm_affine_parameters
from tta.ops.selection import selected_mean
from tta.ops.views.degradation import blend_noise, mask_low_frequencies


class SelfBootstrapping(Method):
    """Trains on two degraded views to predict what the image itself is predicted to be.

    One view lacks some low frequencies, the other is blended with noise, both in the units that
    the network is shown: about its mean, clipped at its standard deviation. Features of a view pass
    through a linear predictor, the identity at first, before the head; the loss is the KL
    divergence from the prediction of the image, a constant, over the images of which that
    prediction is the more confident one. Affine parameters of norm layers and the predictor are
    trained (Niu et al., ICML 2025). How much noise each patch of the image gets is trained
    against the model, at a constant mean. Outputs are those before the update.

    A batch from which nothing is selected changes nothing; the published code divides by zero.
    Every image has noise of its own; with ``compat=True`` a batch shares it, as published.
    """

    name = "spa"
    paper = "Niu et al., Self-bootstrapping for versatile test-time adaptation, ICML 2025"
    state = ("parameters", "predictor", "optimizer", "amplitudes", "noise_optimizer")

    @dataclass(frozen=True)
    class Params(OptimizerParams):
        """Hyper-parameters; the defaults are those for ViT-B on ImageNet-C."""

        optimizer: str = param("sgd", "optimiser", choices=("adam", "sgd"))
        lr: float = param(1e-2, "learning rate of affine parameters", minimum=0.0)
        nesterov: bool = param(False, "Nesterov momentum (SGD)")
        predictor_lr: float = param(5e-2, "learning rate of the predictor", minimum=0.0)
        masked: float = param(
            0.2, "share of low frequencies that a view lacks", minimum=0.0, maximum=1.0
        )
        noise: float = param(0.4, "mean share of noise in the other view", minimum=0.0, maximum=1.0)
        noise_lr: float = param(1.0, "learning rate of the noise's shares", minimum=0.0)
        patches: int = param(
            14,
            "patches of equal noise per side, of 16 pixels in a side of 224",
            minimum=1,
            maximum=4096,
        )
        compat: bool = param(False, "one draw of noise for all images of a batch")

    @classmethod
    def needs(cls, params: Any) -> frozenset[Need]:
        return frozenset({Need.NORM_AFFINE})

    def configure(self) -> None:
        params = self.params
        replace_batch_norm(self.backbone)
        self.parameters = trainable(norm_affine_parameters(self.backbone))
        device = self.parameters[0].device
        self.predictor = nn.Parameter(torch.eye(self.backbone.feature_dim, device=device))
        groups = [
            {"params": self.parameters},
            {"params": [self.predictor], "lr": params.predictor_lr},
        ]
        self.optimizer = make_optimizer(groups, params)
        even = torch.full((params.patches,) * 2, math.sqrt(params.noise), device=device)
        self.amplitudes = nn.Parameter(even)  # square roots of the shares
        self.noise_optimizer = torch.optim.SGD(
            [self.amplitudes], params.noise_lr, momentum=0.9, maximize=True
        )

    def step(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            logits = self.backbone(images)
        self.optimizer.zero_grad(set_to_none=True)
        self.noise_optimizer.zero_grad(set_to_none=True)
        selected = [self._backward(view, logits) for view in self._degrade(images)]
        # The one wait for the device: with nothing selected, momentum alone would move the model.
        if torch.cat(selected).any():
            self._update()
        return logits

    def _degrade(self, images: Tensor) -> Iterator[Tensor]:
        params = self.params
        mean, std = self.backbone.mean, self.backbone.std
        yield mask_low_frequencies(images, self.generator, params.masked, mean)
        shares = self.amplitudes.square()
        yield blend_noise(images, shares, self.generator, mean, std, params.compat)

    def _backward(self, view: Tensor, logits: Tensor) -> Tensor:
        """Add a view's gradients and return which images it was trained on, ``[B]``."""
        predicted = self.backbone.head(self.backbone.features(view) @ self.predictor.T)
        selected = logits.softmax(1).amax(1) > predicted.detach().softmax(1).amax(1)
        divergence = soft_cross_entropy(predicted, logits) - entropy(logits)
        backward(self.optimizer, selected_mean(divergence, selected))
        return selected

    @torch.no_grad()
    def _update(self) -> None:
        update(self.optimizer, self.noise_optimizer)
        mean = self.amplitudes.square().mean().clamp_min(torch.finfo(torch.float32).tiny)
        self.amplitudes.mul_((self.params.noise / mean).sqrt()).clamp_(-1, 1)
