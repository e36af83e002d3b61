"""The metrics of segmentation, each declared once; records, tables and pictures iterate.

Of every image a confusion matrix is kept (:mod:`tta.tasks.confusion`), and sums over some of its
pixels (:data:`PIXEL_COLUMNS`) that calibration follows from. All of it adds up to the figures of a
domain, of the stream, or of any other set of images. Nothing here imports torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from tta.tasks.calibration import ECE_BINS
from tta.tasks.confusion import (
    mean_class_accuracy,
    mean_iou,
    mean_over_images,
    pixel_accuracy,
    ratio,
)
from tta.tasks.metric import ECE, NLL, Metric, Samples, run_figures

MATRIX = "matrix"
"""Confusion matrices ``[N, C, C + 1]`` beside the columns of samples."""
BINS = tuple(f"{part}_{bin}" for part in ("count", "sure", "hits") for bin in range(ECE_BINS))
PIXEL_COLUMNS = ("sampled", "confidence", "loss", *BINS)
"""Sums over an image's pixels that calibration is told by: how many there are, their top-1
confidences, their negative log-likelihoods in nats; and by bins of the confidence how many, their
confidences, and how many are right. NaN where outputs are not finite."""


def _of_matrix(figure: Callable[[np.ndarray], np.ndarray]) -> Callable[[Samples], float]:
    """Return a figure of the images' summed matrix."""
    return lambda samples: float(figure(samples[MATRIX].sum(0)))


def _image_mean(samples: Samples) -> float:
    return mean_over_images(mean_iou(samples[MATRIX]))


def _calibration_error(samples: Samples) -> float:
    bins = np.stack([samples[name] for name in BINS]).sum(1).reshape(3, ECE_BINS)
    return float(ratio(np.abs(bins[2] - bins[1]).sum(), bins[0].sum()))


def _pixel_loss(samples: Samples) -> float:
    return float(ratio(samples["loss"].sum(), samples["sampled"].sum()))


def _fraction(name: str, header: str, meaning: str, figure: Callable[[Samples], float]) -> Metric:
    return Metric(
        name, header, meaning, figure, percent=True, better="higher", pools=True, shown=True
    )


MIOU = _fraction(
    "miou",
    "mIoU %",
    "mean over classes of intersection over union, of the summed matrix",
    _of_matrix(mean_iou),
)
SEGMENTATION_METRICS = (
    MIOU,
    dataclasses.replace(
        _fraction("image_miou", "image mIoU %", "mean over images of their own mIoU", _image_mean),
        pools=False,
    ),
    _fraction(
        "pixel_accuracy",
        "pixel acc %",
        "share of pixels classified rightly",
        _of_matrix(pixel_accuracy),
    ),
    _fraction(
        "class_accuracy",
        "class acc %",
        "mean over classes of the share of their pixels classified rightly",
        _of_matrix(mean_class_accuracy),
    ),
    dataclasses.replace(
        ECE, meaning=f"{ECE.meaning}, of pixels, every eighth a side", aggregate=_calibration_error
    ),
    dataclasses.replace(
        NLL,
        meaning="negative log-likelihood of a pixel's label, nats, of every eighth a side",
        aggregate=_pixel_loss,
    ),
)
"""Of images of 256 pixels a side and more; of smaller ones every pixel tells of calibration."""


SEGMENTATION_FIGURES = tuple(run_figures(SEGMENTATION_METRICS))
"""Means over the visits to domains, and figures of the whole stream's summed matrix."""
