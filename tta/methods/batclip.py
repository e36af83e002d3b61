"""BATCLIP: both towers adapted, so that images of a class meet its text and classes part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tta.foundation.templates import check_template
from tta.methods.base import Method, Need, descend, make_optimizer, trainable
from tta.methods.params import OptimizerParams, param
from tta.ops.losses import entropy
from tta.ops.norm.batch_norm import replace_batch_norm
from tta.ops.parameters import norm_affine_parameters


def class_means(embedded: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return means ``[C, D]`` of the images of each predicted class, and which there are ``[C]``.

    Means of classes that nothing is taken for are zero.

    Args:
        embedded: of images ``[B, D]``.
        logits: of the same ``[B, C]``.
    """
    classes = torch.arange(logits.shape[1], device=logits.device)
    members = (classes[:, None] == logits.argmax(1)).to(embedded.dtype)
    counts = members.sum(1)
    return members @ embedded / counts.clamp_min(1)[:, None], counts > 0


def projection_matching(means: Tensor, present: Tensor, text: Tensor) -> Tensor:
    """Return the mean product of the means of classes with their unit texts, a scalar.

    Over the classes that are present. It is a cosine times the length of the mean.
    """
    return (means * text).sum() / present.sum()


def separation(means: Tensor, present: Tensor) -> Tensor:
    """Return the sum of ``1 - cos`` over ordered pairs of class means that are present, a scalar.

    A sum, not a mean: it grows with the square of the number of classes.
    """
    # Zero means are left out before the division, whose gradient would not be finite there.
    units = torch.where(present[:, None], means, 1.0)
    units = units / units.norm(dim=1, keepdim=True)
    return torch.where(present[:, None] & present, 1 - units @ units.T, 0).fill_diagonal_(0).sum()


class BatClip(Method):
    """Minimises entropy, draws class means to their texts and apart, over both towers' norms.

    The loss of a batch is

        mean H(p) - mean_c u_c t_c - sum_(c != d) (1 - cos(u_c, u_d))

    with u_c the mean over images predicted as c, and texts t_c that are encoded anew for every
    batch with gradients to their tower (Maharana et al., ICCV 2025). Outputs are those before the
    update. As in the released code, u are embeddings before they are made unit vectors, so that
    the second term weighs as much as they are long; it has GradScaler and autocast, which
    ``--precision`` stands for here.

    Adam or AdamW, and the learning rate, were chosen per test set, see the presets.
    """

    name = "batclip"
    paper = "Maharana et al., BATCLIP: bimodal online test-time adaptation for CLIP, ICCV 2025"
    state = ("parameters", "optimizer")

    @dataclass(frozen=True)
    class Params(OptimizerParams):
        """Hyper-parameters; the defaults are those for ImageNet-C."""

        optimizer: str = param("adamw", "optimiser", choices=("adamw", "adam", "sgd"))
        lr: float = param(5e-4, "learning rate", minimum=0.0)
        weight_decay: float = param(0.01, "weight decay", minimum=0.0)
        prompt: str | None = param(
            None, "template of each class's one prompt; null for the first of --templates"
        )

    @classmethod
    def needs(cls, params: Any) -> frozenset[Need]:
        return frozenset({Need.IMAGE_TEXT, Need.NORM_AFFINE})

    def configure(self) -> None:
        self.layers = replace_batch_norm(self.backbone)
        self.text = self.backbone.text.copy_to(self.backbone.mean.device)
        prompt = self.text.templates[0] if self.params.prompt is None else self.params.prompt
        check_template(prompt)
        self.ids = self.text.tokens(self.text.prompts(prompt, self.backbone.class_ids))
        towers = norm_affine_parameters(self.backbone), self.text.norm_parameters()
        self.parameters = [one for tower in towers for one in trainable(tower)]
        self.optimizer = make_optimizer(self.parameters, self.params)

    def step(self, images: Tensor) -> Tensor:
        embedded, text = self.backbone.embeddings(images), self.text.encode(self.ids)
        logits = self._logits(embedded, text)
        descend(self.optimizer, self.loss(logits, embedded, text))
        return logits.detach()

    def loss(self, logits: Tensor, embedded: Tensor, text: Tensor) -> Tensor:
        """Return what a step goes down, a scalar.

        Args:
            logits: of a batch ``[B, C]``.
            embedded: embeddings of its images ``[B, D]``, not of unit length.
            text: unit vectors ``[C, D]``.
        """
        means, present = class_means(embedded, logits)
        drawn = projection_matching(means, present, text)
        return entropy(logits).mean() - drawn - separation(means, present)

    def _logits(self, embedded: Tensor, text: Tensor) -> Tensor:
        logits = self.text.scale * F.normalize(embedded, dim=1) @ text.T
        return logits if self.text.bias is None else logits + self.text.bias

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        return self._logits(self.backbone.embeddings(images), self.text.encode(self.ids))
