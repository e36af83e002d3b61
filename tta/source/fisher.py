"""The diagonal of the Fisher information of a classifier's weights."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from tta.backbones.backbone import Backbone


def fisher_diagonal(backbone: Backbone, batches: Iterable[Tensor]) -> dict[str, Tensor]:
    """Return how much each weight matters to the predictions, by name in ``backbone.model``.

    The mean over images of ``sum_y p(y|x) (d log p(y|x) / d theta)^2``, the expectation over
    classes exact (Matena and Raffel, NeurIPS 2022, eq. 3). It takes one backward pass for each
    image and class: a few hundred images are enough.

    Args:
        backbone: the classifier, which stays as it is.
        batches: of images ``[B, 3, H, W]`` in [0, 1], at least one.
    """
    copy = backbone.clone().requires_grad_(True)
    weights = dict(copy.model.named_parameters())
    sums = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    seen = 0
    for batch in batches:
        seen += len(batch)
        for image in batch.split(1):
            _add(sums, copy(image)[0].log_softmax(0), list(weights.values()))
    return {name: value / seen for name, value in sums.items()}


def _add(sums: dict[str, Tensor], log_p: Tensor, weights: list[Tensor]) -> None:
    """Add the squared gradients of one image's log-probabilities ``[C]``, weighted by them."""
    shares = log_p.detach().exp()
    for number in range(len(log_p)):
        gradients = torch.autograd.grad(
            log_p[number], weights, retain_graph=number + 1 < len(log_p), allow_unused=True
        )
        for total, gradient in zip(sums.values(), gradients, strict=True):
            if gradient is not None:
                total.addcmul_(gradient, gradient * shares[number])
