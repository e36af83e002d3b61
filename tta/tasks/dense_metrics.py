"""What is kept of the outputs for an image's pixels, on the device."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from tta.ops.maps import enlarged
from tta.tasks.calibration import ECE_BINS
from tta.tasks.finite import finite_rows
from tta.tasks.metrics import log_probabilities

LARGEST_WHOLE = 256
"""Pixels a side from which calibration is of some pixels alone."""
STEP = 8
"""Of these, every eighth row and column."""
AT_ONCE = 2**23
"""Enlarged outputs that are held at a time, or those of one image where that has more."""


@torch.no_grad()
def pixel_metrics(
    outputs: Tensor, labels: Tensor, kind: str, ignore: int, align_corners: bool = False
) -> tuple[Tensor, Tensor]:
    """Return what is kept of each image of a batch; no enlarged output outlives the call.

    A pixel whose outputs are not finite tells no class: it is wrong. The other sums of an image
    with such a pixel are NaN.

    Args:
        outputs: ``[B, C, h, w]``, in any size.
        labels: ``[B, H, W]``, integers, on the same device.
        kind: see :func:`tta.tasks.metrics.log_probabilities`.
        ignore: label of pixels that do not count; nor do those of C and more.
        align_corners: see :func:`tta.ops.maps.enlarged`.

    Returns:
        The rows of :data:`tta.tasks.segmentation.PIXEL_COLUMNS` ``[3 + 3 * 15, B]`` in float32;
        and matrices ``[B, C, C + 1]`` (int32) of :mod:`tta.tasks.confusion`.
    """
    parts = [
        _measured(
            enlarged(rows.float(), tuple(maps.shape[-2:]), align_corners), maps.long(), kind, ignore
        )
        for rows, maps in _in_parts(outputs, labels)
    ]
    rows, matrices = zip(*parts, strict=True)
    return torch.cat(rows, 1), torch.cat(matrices)


def _in_parts(outputs: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    count = max(1, AT_ONCE // (outputs.shape[1] * labels[0].numel()))
    return zip(outputs.split(count), labels.split(count), strict=True)


def _measured(outputs: Tensor, labels: Tensor, kind: str, ignore: int) -> tuple[Tensor, Tensor]:
    counted = (labels != ignore) & (labels < outputs.shape[1])
    finite = finite_rows(outputs, kind)
    predicted = outputs.argmax(1).where(finite, outputs.shape[1])
    matrices = confusion(labels, predicted, counted, outputs.shape[1])
    step = STEP if min(labels.shape[-2:]) >= LARGEST_WHOLE else 1
    some = (slice(None), slice(None, None, step), slice(None, None, step))
    log_p = log_probabilities(outputs[:, :, ::step, ::step], kind)
    rows = _sums(log_p, labels[some], predicted[some], counted[some])
    return rows.where(finite.flatten(1).all(1), torch.nan), matrices


def confusion(labels: Tensor, predicted: Tensor, counted: Tensor, classes: int) -> Tensor:
    """Return matrices ``[B, C, C + 1]`` (int32) of labels and predictions ``[B, ...]``.

    Args:
        labels: 0 to C - 1 where they count.
        predicted: 0 to C; C is no class.
        counted: which pixels do.
        classes: C.
    """
    batch, cells = len(labels), classes * (classes + 1)
    image = torch.arange(batch, device=labels.device).view(-1, *[1] * (labels.dim() - 1))
    cell = image * cells + labels * (classes + 1) + predicted
    cell = cell.where(counted, batch * cells).flatten()  # the last is thrown away
    if cell.device.type == "cpu":
        found = torch.bincount(cell, minlength=batch * cells + 1)
    else:  # bincount would wait for the device
        found = cell.new_zeros(batch * cells + 1).scatter_add_(0, cell, torch.ones_like(cell))
    return found[:-1].view(batch, classes, classes + 1).int()


def _sums(log_p: Tensor, labels: Tensor, predicted: Tensor, counted: Tensor) -> Tensor:
    """Return the sums over the pixels of each image, ``[3 + 3 * 15, B]``."""
    labels = labels.clamp_max(log_p.shape[1] - 1)
    confidence = log_p.amax(1).exp().where(counted, 0)
    loss = -log_p.gather(1, labels[:, None])[:, 0].where(counted, 0)
    weight = counted.to(confidence.dtype)
    hit = weight * (predicted == labels)
    # As tta.tasks.calibration.confidence_bins; a product, whose sums are the same at every call.
    number = (confidence.nan_to_num() * ECE_BINS).ceil().long().sub(1).clamp(0, ECE_BINS - 1)
    bins = F.one_hot(number.flatten(1), ECE_BINS).to(weight.dtype)
    parts = torch.stack([weight, confidence, hit], 1).flatten(2)
    by_bin = (parts @ bins).flatten(1).T
    totals = torch.stack([weight.flatten(1).sum(1), parts[:, 1].sum(1), loss.flatten(1).sum(1)])
    return torch.cat([totals, by_bin])
