"""Mean features of the source classes, and how they spread."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from tta.backbones.backbone import Backbone
    from tta.source.source_data import SourceData


@torch.no_grad()
def source_prototypes(backbone: Backbone, source: SourceData) -> Tensor:
    """Return the backbone's mean feature of every source class, ``[C, D]``.

    Batch norm works as the backbone has it, so with batch statistics where these replace the
    source's. See :func:`class_prototypes`.
    """
    pairs = ((backbone.features(images).float(), labels) for images, labels in source.one_pass())
    return class_prototypes(pairs, backbone.num_classes)


def class_prototypes(
    features_and_labels: Iterator[tuple[Tensor, Tensor]], num_classes: int, limit: int = 100_000
) -> Tensor:
    """Return the mean feature of every class, ``[C, D]``.

    Args:
        features_and_labels: batches of features ``[B, D]`` and labels ``[B]``.
        num_classes: C.
        limit: stop once more features than this have been seen.

    A class without an image gets the zero vector, which no feature is nearest to by cosine
    unless all are opposed to it.
    """
    sums: Tensor | None = None
    seen = 0
    for features, labels in features_and_labels:
        if sums is None:
            sums = features.new_zeros(num_classes, features.shape[1])
            counts = features.new_zeros(num_classes, 1)
        sums.index_add_(0, labels, features)
        counts.index_add_(0, labels, torch.ones_like(features[:, :1]))
        seen += len(labels)
        if seen > limit:
            break
    assert sums is not None  # noqa: S101 - a source data set is never empty
    return sums / counts.clamp_(min=1.0)


def class_moments(
    features_and_labels: Iterator[tuple[Tensor, Tensor]], num_classes: int, limit: int = 100_000
) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean and unbiased variance ``[C, D]`` and number ``[C]`` of every class's features.

    Args:
        features_and_labels: batches of features ``[B, D]`` and classes ``[B]``.
        num_classes: C.
        limit: stop once more features than this have been seen.

    The mean of a class without a feature is that of the first batch; the variance of one with
    fewer than two is 0.
    """
    sums: Tensor | None = None
    seen = 0
    for features, labels in features_and_labels:
        if sums is None:
            origin = features.mean(0)  # near the means, so that squares keep their digits
            sums = features.new_zeros(num_classes, 2 * features.shape[1])
            counts = features.new_zeros(num_classes)
        moved = features - origin
        sums.index_add_(0, labels, torch.cat([moved, moved.square()], 1))
        counts.index_add_(0, labels, torch.ones_like(moved[:, 0]))
        seen += len(labels)
        if seen > limit:
            break
    assert sums is not None  # noqa: S101 - a source data set is never empty
    first, second = sums.chunk(2, 1)
    means = first / counts.clamp_min(1)[:, None]
    variances = (second - first * means) / (counts - 1).clamp_min(1)[:, None]
    return origin + means, variances.clamp_min(0), counts
