"""The same mathematics written without care for speed: what the measurements compare with.

Each function is the formula as one would first write it down: a pass per moment, a loop per
parameter, a repeat instead of a product. Tests hold them equal to ``tta.ops``.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.transforms.v2 import InterpolationMode, functional

from tta.methods.rmt import RobustMeanTeacher
from tta.ops.losses import symmetric_cross_entropy
from tta.ops.norm.batch_norm import AdaptiveBatchNorm, replace_batch_norm
from tta.ops.views.augment import AugmentDraw, CottaAugment


def mixed_batch_norm(
    x: Tensor,
    source: tuple[Tensor, Tensor],
    weight: Tensor | None,
    bias: Tensor | None,
    target_weight: float,
    eps: float,
) -> Tensor:
    """Normalise ``[B, C, ...]`` with mixed moments, a pass over ``x`` for every operation."""
    dims = [dim for dim in range(x.dim()) if dim != 1]
    shape = [1, -1] + [1] * (x.dim() - 2)
    mean = (1 - target_weight) * source[0] + target_weight * x.mean(dims)
    var = (1 - target_weight) * source[1] + target_weight * x.var(dims, correction=0)
    y = (x - mean.view(shape)) / torch.sqrt(var.view(shape) + eps)
    y = y if weight is None else y * weight.view(shape)
    return y if bias is None else y + bias.view(shape)


class NaiveBatchNorm(AdaptiveBatchNorm):
    """A layer that normalises by :func:`mixed_batch_norm`; in float64, the oracle."""

    def normalize(self, x: Tensor) -> Tensor:
        source = self.source_moments
        return mixed_batch_norm(x, source, self.weight, self.bias, self.target_weight, self.eps)


@torch.no_grad()
def ema_update(average: Sequence[Tensor], current: Sequence[Tensor], decay: float) -> None:
    """Update one parameter after another."""
    for old, new in zip(average, current, strict=True):
        old.copy_(decay * old + (1 - decay) * new)


@torch.no_grad()
def nearest_prototype(features: Tensor, prototypes: Tensor) -> Tensor:
    """Compare every feature ``[B, D]`` with every prototype ``[C, D]``, both repeated."""
    count = len(prototypes)
    pairs = features[:, None].repeat(1, count, 1), prototypes[None].repeat(len(features), 1, 1)
    return F.cosine_similarity(*pairs, dim=2).argmax(1)


def prototype_contrastive_loss(views: Sequence[Tensor], temperature: float = 0.1) -> Tensor:
    """Mask the positives, and the anchors themselves, out of the full similarity matrix."""
    batch, count = len(views[0]), len(views)
    flat = F.normalize(torch.cat(list(views)), dim=1)
    similarity = flat @ flat.T / temperature
    others = 1 - torch.eye(count * batch, device=flat.device)
    positives = torch.eye(batch, device=flat.device).repeat(count, count) * others
    log_sum = torch.log((torch.exp(similarity) * others).sum(1, keepdim=True))
    return -((similarity - log_sum) * positives).sum(1).div(positives.sum(1)).mean()


def rbf_affinity(features: Tensor, k: int) -> Tensor:
    """Take norms of the ``[N, N, D]`` differences."""
    unit = F.normalize(features, dim=1)
    distances = (unit[:, None] - unit[None]).norm(dim=2)
    sigma = distances.topk(k, largest=False).values[:, -1].mean()
    return torch.exp(-distances.square() / (2 * sigma.square()))


def augment(images: Tensor, drawn: AugmentDraw, noise: Tensor) -> Tensor:
    """Apply the published chain, one operation after the other, to the padded image."""
    height, width = images.shape[-2:]
    for name, factor in drawn.jitter:
        images = images.clamp(min=1e-8) if name == "gamma" else images
        images = getattr(functional, f"adjust_{name}")(images, factor)
    images = functional.pad(images, [width // 2, height // 2], padding_mode="edge")
    images = functional.affine(
        images,
        drawn.angle,
        list(drawn.translation),
        drawn.scale,
        [0.0, 0.0],
        InterpolationMode.BILINEAR,
    )
    if drawn.blur_sigma is not None:
        images = functional.gaussian_blur(images, [5, 5], [drawn.blur_sigma] * 2)
    images = functional.center_crop(images, [height, width])
    images = functional.horizontal_flip(images) if drawn.flip else images
    return (images + noise).clamp(0, 1)


class NaiveAugment(CottaAugment):
    """Draws as ``CottaAugment`` does, and applies :func:`augment`."""

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        drawn = self.draw(generator, *images.shape[-2:])
        noise = torch.randn(images.shape, generator=generator) * self.noise_std
        return augment(images, drawn, noise)


class NaiveRmt(RobustMeanTeacher):
    """RMT with one loop or mask per line of the paper, and all losses in one backward pass.

    Give it a backbone and images in NCHW. The teacher is a deep copy of the student, as in the
    method itself.
    """

    def configure(self) -> None:
        super().configure()
        self.augment = NaiveAugment()
        settings = {**self.optimizer.defaults, "foreach": False}
        self.optimizer = type(self.optimizer)(self.student_parameters, **settings)

    def step(self, images: Tensor) -> Tensor:
        features = self.backbone.features(images)
        logits = self.backbone.head(features)
        teacher_logits = self._teach(images)
        view = self.backbone.features(self.augment(images, self.generator))
        view_logits = self.backbone.head(view)
        plain = symmetric_cross_entropy(logits, teacher_logits)
        loss = (0.5 * plain + 0.5 * symmetric_cross_entropy(view_logits, teacher_logits)).mean()
        nearest = self.prototypes[nearest_prototype(features.detach(), self.prototypes)]
        projected = [self.projector(group) for group in (nearest, features, view)]
        loss = loss + prototype_contrastive_loss(projected, self.params.temperature)
        if self.params.lambda_source:
            source_images, labels = next(self.source_batches)
            loss = loss + F.cross_entropy(self.backbone(source_images), labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        ema_update(self.teacher_parameters, self.averaged_parameters, self.params.teacher_decay)
        return logits.detach() + teacher_logits


def float64_oracle(backbone: nn.Module, target_weight: float) -> nn.Module:
    """Return a float64 copy of ``backbone`` whose batch norm is :func:`mixed_batch_norm`."""

    def make(layer: _BatchNorm) -> NaiveBatchNorm:
        return NaiveBatchNorm(layer, target_weight)

    oracle = copy.deepcopy(backbone)
    replace_batch_norm(oracle, make)
    return oracle.double()
