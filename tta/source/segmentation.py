"""What training of networks that segment needs: pixels' loss, pictures varied with their labels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tta.backbones.backbone import Backbone
from tta.datasets import Dataset
from tta.datasets.images import to_unit_range
from tta.ops.maps import enlarged
from tta.tasks.dense_metrics import pixel_metrics

_BATCH = 16


def labelled_images(dataset: Dataset, domain: str) -> tuple[Tensor, Tensor]:
    """Return images ``[N, 3, H, W]`` and label maps ``[N, H, W]`` of a domain as shown, uint8."""
    count = len(dataset.labels(domain, dataset.default_severity))
    parts = np.array_split(np.arange(count), -(-count // _BATCH))
    place = domain, dataset.default_severity
    images = torch.cat([dataset.shown(*place, part) for part in parts])
    return images, torch.cat([dataset.shown_maps(*place, part) for part in parts])


def median_frequency_weights(labels: Tensor, classes: int, most: float = 4.0) -> Tensor:
    """Return weights ``[C]`` that even out how frequent classes are, at most ``most``.

    A class's frequency is its share of the pixels of the images that show it; its weight is the
    median of these over it (Eigen and Fergus, ICCV 2015). A class that is nowhere gets ``most``.

    Args:
        labels: ``[N, H, W]``; other values than classes are passed over.
        classes: C.
        most: see above.
    """
    counts = torch.stack([torch.bincount(one.flatten().long(), minlength=256) for one in labels])
    counts = counts[:, :classes].double()
    shown = (counts > 0) * labels[0].numel()
    frequency = counts.sum(0) / shown.sum(0).clamp(min=1)
    present = frequency > 0
    weights = frequency[present].median() / frequency.clamp(min=1e-12)
    return torch.where(present, weights, most).clamp(max=most).float()


def pixel_loss(
    logits: Tensor, labels: Tensor, ignored: int, weights: Tensor | None = None
) -> Tensor:
    """Return the cross-entropy of logits ``[B, C, h, w]``, enlarged, over pixels of a class.

    Args:
        logits: at any stride.
        labels: ``[B, H, W]``.
        ignored: label of pixels that do not count.
        weights: of classes ``[C]``, or None.
    """
    logits = enlarged(logits, tuple(labels.shape[-2:]))
    return F.cross_entropy(logits, labels.long(), weights, ignore_index=ignored)


def varied(
    images: Tensor,
    labels: Tensor,
    generator: torch.Generator,
    ignored: int,
    scales: tuple[float, float] = (0.75, 1.5),
) -> tuple[Tensor, Tensor]:
    """Return pictures flipped, scaled, cut and of other brightness and contrast, one by one.

    Args:
        images: ``[B, 3, H, W]`` in [0, 1].
        labels: ``[B, H, W]`` uint8; moved with their pictures, by the nearest pixel.
        generator: of what is drawn.
        ignored: label of what lies outside of a picture that was made smaller.
        scales: least and greatest.
    """
    pairs = [
        _varied_one(*pair, generator, ignored, scales) for pair in zip(images, labels, strict=True)
    ]
    pictures, maps = zip(*pairs, strict=True)
    return torch.stack(pictures), torch.stack(maps)


def _varied_one(
    image: Tensor,
    labels: Tensor,
    generator: torch.Generator,
    ignored: int,
    scales: tuple[float, float],
) -> tuple[Tensor, Tensor]:
    draws = torch.rand(6, generator=generator).tolist()
    height, width = labels.shape
    scale = scales[0] * (scales[1] / scales[0]) ** draws[0]
    size = [round(height * scale), round(width * scale)]
    image = F.interpolate(image[None], size, mode="bilinear", align_corners=False)[0]
    labels = F.interpolate(labels[None, None], size, mode="nearest-exact")[0, 0]
    short = [max(0, side - now) for side, now in zip((height, width), size, strict=True)]
    edges = (0, short[1], 0, short[0])
    image, labels = F.pad(image, edges, value=0.5), F.pad(labels, edges, value=ignored)
    top = round(draws[1] * (labels.shape[0] - height))
    left = round(draws[2] * (labels.shape[1] - width))
    image = image[:, top : top + height, left : left + width]
    labels = labels[top : top + height, left : left + width]
    if draws[3] < 0.5:
        image, labels = image.flip(-1), labels.flip(-1)
    contrast, brightness = 0.75 + 0.5 * draws[4], 0.3 * (draws[5] - 0.5)
    return ((image - 0.5) * contrast + 0.5 + brightness).clamp(0, 1), labels


def batches_of(count: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield rows of one epoch in random order; a last batch of a single row is left out."""
    for rows in torch.randperm(count, generator=generator).split(size):
        if len(rows) > 1:
            yield rows


@torch.no_grad()
def pixel_counts(backbone: Backbone, images: Tensor, labels: Tensor, ignored: int) -> np.ndarray:
    """Return how many pixels of each label were given each class, see ``tta.tasks.confusion``.

    Args:
        backbone: one that segments.
        images: uint8 ``[N, 3, H, W]``.
        labels: uint8 ``[N, h, w]``; logits are enlarged to their size.
        ignored: label of pixels that do not count.

    Returns:
        ``[C, C + 1]``.
    """
    parts = zip(images.split(_BATCH), labels.split(_BATCH), strict=True)
    total = [
        pixel_metrics(
            backbone(to_unit_range(shown)), truth, "logits", ignored, backbone.align_corners
        )[1].sum(0)
        for shown, truth in parts
    ]
    return torch.stack(total).sum(0).numpy()
