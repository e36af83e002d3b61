"""aTLAS: task vectors, each tensor of each scaled by a coefficient that is learned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tta.foundation.errors import UserError
from tta.methods.atlas_composition import composed, composed_gradient, drawn_groups
from tta.methods.atlas_loss import TARGETS, confident, pseudo_targets, unsupervised_fixmatch
from tta.methods.base import Method, Need, backward, make_optimizer, trainable, update
from tta.methods.params import OptimizerParams, param
from tta.methods.weight_files import file_digests, stacked
from tta.ops.generators import generator_on
from tta.ops.loss_scaling import scale_state
from tta.ops.losses import entropy
from tta.ops.norm.batch_norm import AdaptiveBatchNorm, replace_batch_norm, require_source_statistics
from tta.ops.views.augmix import resized_crop_and_flip
from tta.source.checkpoint_vectors import check_fits, vectors_to
from tta.source.weight_vector_files import read_vectors
from tta.source.weight_vectors import WeightVectors


class Atlas(Method):
    """Learns how far to go along task vectors: one coefficient per vector and tensor.

    ``theta = theta_0 + sum_i Lambda_i tau_i`` with the source model's weights theta_0 and task
    vectors tau_i = theta_i - theta_0 (Zhang et al., NeurIPS 2024). All coefficients begin at 0, so
    that the first batch is classified by the source model. The classifier stays the source's, as
    the text head of the paper's CLIP does. The coefficients' gradients are products of those of
    the weights with the vectors, which costs one backward pass whatever there are of vectors; these
    are kept beside the model, in float32.

    The paper adapts offline, ten epochs over the test set, to pseudo-labels: UFM, cross-entropy of
    a randomly cropped and mirrored view against the prediction of the image as it is, where that
    is surer than a threshold. Here it is online, a step per batch at a constant learning rate, and
    so without what needs all test images at once: a quarter of each batch from a set of trusted
    ones. ``entropy`` is the alternative that the authors' options name. Outputs are those of the
    forward pass before the step. Crops are interpolated bilinearly, not bicubically. Batch-norm
    layers, which the paper's models do not have, mix the test batch's statistics with the source's
    by ``target_weight``.

    With ``partitions`` K above 1 it is aTLAS x K: the values of each tensor are parted at random in
    K groups, each with coefficients of its own, which costs a byte per value and K products with
    the vectors. The paper's experiments with it have a few labels. Its code draws one partition
    for all tensors of a shape, and moves matrices alone; here each tensor has its own and all move,
    as without. Groups are drawn from the seed and are part of the state.

    Of the released test-time code, these are slips. What is called sharpening divides out again:
    targets are the plain predictions; ``targets=sharpened`` squares them. All images count as
    trusted, so that it is the zero-shot predictions of before the first epoch that are learned, all
    with weight one. Gradients are clipped while they are scaled for float16. The epoch is chosen
    with labels. A batch in which nothing is sure makes weights NaN; here it is no step.

    Whether any image is sure is the one thing that the host waits for.
    """

    name = "atlas"
    paper = (
        "Zhang et al., Knowledge composition using task vectors with learned anisotropic scaling, "
        "NeurIPS 2024"
    )
    state = ("parameters", "coefficients", "optimizer", "groups")

    @dataclass(frozen=True)
    class Params(OptimizerParams):
        """Hyper-parameters."""

        vectors: str | None = param(
            None, "where task vectors are kept; this or checkpoints has to be given", unit="file"
        )
        checkpoints: tuple[str, ...] | None = param(
            None, "of this network, whose differences from the source are the task vectors"
        )
        partitions: int = param(
            1,
            "groups of each tensor's values with coefficients of their own",
            minimum=1,
            maximum=256,
        )
        optimizer: str = param("adamw", "optimiser", choices=("adamw", "adam", "sgd"))
        weight_decay: float = param(0.1, "weight decay", minimum=0.0)
        clip: float = param(1.0, "greatest norm of the gradient", minimum=1e-12)
        loss: str = param(
            "ufm", "pseudo-labels of sure images, or entropy", choices=("ufm", "entropy")
        )
        targets: str = param("soft", "pseudo-labels of ufm", choices=TARGETS)
        threshold: float = param(
            0.99, "probability that a pseudo-label has to exceed", minimum=0.0, maximum=1.0
        )
        least_area: float = param(
            0.5, "share of an image that a crop covers at least", minimum=1e-3, maximum=1.0
        )
        flip: bool = param(True, "mirror half of the crops")
        target_weight: float = param(
            1.0, "weight of the test batch's statistics", minimum=0.0, maximum=1.0
        )

    @classmethod
    def needs(cls, params: Any) -> frozenset[Need]:
        given = params.vectors or params.checkpoints
        return frozenset() if given else frozenset({Need.WEIGHT_VECTORS})

    def configure(self) -> None:
        if self.params.target_weight < 1:
            require_source_statistics(self.backbone)
        files = {"vectors": self.params.vectors, "checkpoints": self.params.checkpoints}
        self.digests = file_digests(**files)
        found = self._read()
        self.layers = replace_batch_norm(self.backbone, self._layer)
        head = set(self.backbone.classifier.parameters())
        pairs = zip(*stacked(found, self.backbone), strict=True)
        kept = [(weight, change[1:]) for weight, change in pairs if weight not in head]
        self.parameters = trainable([weight for weight, _ in kept])
        self.source_values = [weight.detach().clone() for weight in self.parameters]
        self.changes = [change.flatten(1) for _, change in kept]
        self.groups = self._groups()
        each = (self.params.partitions,) if self.groups else ()
        zeros = self.backbone.mean.new_zeros(len(found.names), len(kept), *each)
        self.coefficients = nn.Parameter(zeros)
        self.optimizer = make_optimizer([self.coefficients], self.params)

    def _groups(self) -> list[Tensor]:
        """Return the groups of each tensor's values; nothing where all are one group."""
        if self.params.partitions == 1:
            return []
        sizes = [change.shape[1] for change in self.changes]
        drawn = [drawn_groups(size, self.params.partitions, self.generator) for size in sizes]
        return [groups.to(self.backbone.mean.device) for groups in drawn]

    def _read(self) -> WeightVectors:
        params = self.params
        if params.vectors and params.checkpoints:
            raise UserError("atlas.vectors and atlas.checkpoints exclude each other; set one")
        if params.checkpoints:
            return vectors_to(params.checkpoints, self.backbone)
        if not params.vectors:
            return WeightVectors({})
        found = read_vectors(params.vectors)
        check_fits(found, params.vectors, self.backbone)
        return found

    def _layer(self, layer: _BatchNorm) -> AdaptiveBatchNorm:
        return AdaptiveBatchNorm(layer, self.params.target_weight)

    def step(self, images: Tensor) -> Tensor:
        if not self.parameters:
            return self.predict(images)
        if self.params.loss == "entropy":
            logits = self.backbone(images)
            self._descend(entropy(logits).mean())
            return logits.detach()
        logits = self.predict(images)
        chosen = confident(logits, self.params.targets, self.params.threshold)
        views = self._views(images)
        if bool(chosen.any()):
            targets = pseudo_targets(logits, self.params.targets)
            self._descend(unsupervised_fixmatch(self.backbone(views), targets, chosen))
        return logits

    def _views(self, images: Tensor) -> Tensor:
        """Return a random part of each image, enlarged to the whole, half of them mirrored."""
        draws = generator_on(images.device, self.generator)
        levels = images.clamp(0, 1) * 255
        cropped = resized_crop_and_flip(
            levels, draws, self.params.least_area, self.params.flip, 0.5
        )
        return cropped / 255

    def _descend(self, loss: Tensor) -> None:
        backward(self.optimizer, loss)
        columns = [
            composed_gradient(_gradient(weight), change, groups, self.params.partitions)
            for weight, change, groups in self._tensors()
        ]
        for weight in self.parameters:
            weight.grad = None
        self.coefficients.grad = self._clipped(torch.stack(columns, 1))
        update(self.optimizer)
        self._move()

    def _clipped(self, gradient: Tensor) -> Tensor:
        """Return a gradient, scaled like the loss, whose norm is at most ``clip`` without it."""
        most = self.params.clip * scale_state(self.optimizer).get("loss_scale", 1.0)
        return gradient * (most / (gradient.norm() + 1e-6)).clamp_max(1.0)

    @torch.no_grad()
    def _move(self) -> None:
        """Let weights be where the coefficients say."""
        shares = self.coefficients.unbind(1)
        for (weight, change, groups), source, share in zip(
            self._tensors(), self.source_values, shares, strict=True
        ):
            weight.copy_(source + composed(share, change, groups).view_as(source))

    def _tensors(self) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """Yield each parameter, its changes ``[I, N]``, and the groups of its values if any."""
        groups = self.groups or [None] * len(self.parameters)
        return zip(self.parameters, self.changes, groups, strict=True)


def _gradient(weight: Tensor) -> Tensor:
    """Return the gradient ``[N]`` of a tensor; 0 where the loss does not depend on it."""
    return (torch.zeros_like(weight) if weight.grad is None else weight.grad).flatten()
