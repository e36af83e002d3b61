"""The same images in every domain of a data set."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tta.datasets.base import Dataset
from tta.foundation.errors import UserError
from tta.reporting.pictures.style import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIDE = 224
"""Pixels that image files are resized to; images of arrays keep their size."""


def draw_samples(dataset: Dataset, severity: int | None, count: int, width: float) -> Figure:
    """Return ``count`` images of each domain, spread evenly over the first domain's images.

    Raises:
        UserError: the data set has no such severity, or too few images.
    """
    severity = dataset.default_severity if severity is None else severity
    if severity not in dataset.severities:
        known = ", ".join(map(str, dataset.severities))
        raise UserError(f"dataset {dataset.name!r} has no severity {severity}; it has: {known}")
    dataset.image_size = (SIDE, SIDE)
    dataset.check(dataset.domains, (severity,))
    sizes = [len(dataset.labels(domain, severity)) for domain in dataset.domains]
    if min(sizes) < count:
        raise UserError(f"a domain of {dataset.name!r} has only {min(sizes)} images; lower --count")
    chosen = np.linspace(0, min(sizes) - 1, count + 2).astype(int)[1:-1] if count > 1 else [0]
    columns = 3 if width < 5 else 5
    rows = math.ceil(len(dataset.domains) / columns)
    figure = new_figure(width, rows * (width / columns / count + 0.22))
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, domain in zip(grid.flat, dataset.domains, strict=False):
        images = dataset.images(domain, severity, np.asarray(chosen)).permute(0, 2, 3, 1).numpy()
        axes.imshow(np.concatenate(list(images), axis=1))
        axes.set_title(domain.replace("_", " "), pad=2)
    return figure
