"""From the outputs of batches to what is kept of every sample."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from tta.foundation.from_host import from_host
from tta.ops.maps import enlarged
from tta.streams.stream import Batch
from tta.tasks.dense_metrics import pixel_metrics
from tta.tasks.metrics import open_set_metrics, predictions, sample_metrics
from tta.tasks.task import PREDICTION, Task

STRIP_SIDE = 320
"""Pixels of the longer side of what is kept for pictures, at most."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What waits on the device until it is fetched.

    Attributes:
        rows: outputs ``[B, C]``, or figures of the samples ``[M, B]``.
        matrices: confusion matrices of images ``[B, C, C + 1]``; None where labels are no maps.
        strips: by position, an image, its label map and what was predicted ``[5, h, w]`` (uint8).
    """

    rows: Tensor
    matrices: Tensor | None = None
    strips: Mapping[int, Tensor] = field(default_factory=dict)


class Judge(Protocol):
    """Turns outputs into figures, on the device, which is not waited for."""

    def keep(self, batch: Batch, outputs: Tensor) -> Kept:
        """Return what is kept of a batch's outputs until it is fetched."""

    def rows(self, kept: list[Kept], first: int) -> Tensor:
        """Return the figures ``[M, N]`` of neighbouring batches, the first of which is there."""


class ClassJudge:
    """Compares classes of images with their labels, many batches at once.

    Args:
        labels: ``[N]`` in stream order.
        kind: of the outputs, see :func:`tta.tasks.metrics.log_probabilities`.
        task: what the stream is judged by.
        score: of outputs ``[B, C]``: how much each image looks known ``[B]``.
        device: where outputs are.
    """

    def __init__(
        self,
        labels: np.ndarray,
        kind: str,
        task: Task,
        score: Callable[[Tensor], Tensor],
        device: torch.device | str,
    ) -> None:
        self.kind, self.task, self.score = kind, task, score
        self.labels = torch.from_numpy(labels).to(device)

    def keep(self, batch: Batch, outputs: Tensor) -> Kept:
        return Kept(outputs)

    def rows(self, kept: list[Kept], first: int) -> Tensor:
        outputs = [one.rows for one in kept]
        labels = self.labels[first : first + sum(map(len, outputs))]
        if labels.device.type == "cpu":  # a GPU's sums may depend on the number of rows
            outputs, parts = [torch.cat(outputs)], [labels]
        else:
            parts = labels.split([len(rows) for rows in outputs])
        return torch.cat([self._judge(*pair) for pair in zip(outputs, parts, strict=True)], 1)

    def _judge(self, outputs: Tensor, labels: Tensor) -> Tensor:
        if "known" in self.task.columns:
            rows = open_set_metrics(outputs, labels, self.kind, self.score)
        else:
            rows = sample_metrics(outputs, labels, self.kind)
        if PREDICTION not in self.task.columns:
            return rows
        return torch.cat([rows, predictions(outputs, self.kind).to(rows.dtype)[None]])


class MapJudge:
    """Compares classes of pixels with label maps, batch by batch: full outputs are large.

    Args:
        label_maps: of the images at given stream positions, ``[B, H, W]`` in host memory.
        kind: of the outputs, see :func:`tta.tasks.metrics.log_probabilities`.
        ignore: label of pixels that do not count.
        align_corners: how outputs are enlarged, see :func:`tta.ops.maps.enlarged`.
        pictured: stream positions of images that are kept for pictures.
    """

    def __init__(
        self,
        label_maps: Callable[[slice], Tensor],
        kind: str,
        ignore: int,
        align_corners: bool,
        pictured: Sequence[int] = (),
    ) -> None:
        self.label_maps, self.kind = label_maps, kind
        self.ignore, self.align_corners = ignore, align_corners
        self.pictured = tuple(pictured)

    def keep(self, batch: Batch, outputs: Tensor) -> Kept:
        maps = from_host(self.label_maps(slice(batch.start, batch.stop)), outputs.device)
        kept = pixel_metrics(outputs, maps, self.kind, self.ignore, self.align_corners)
        chosen = [number for number in self.pictured if batch.start <= number < batch.stop]
        strips = {number: self._strip(batch, maps, outputs, number) for number in chosen}
        return Kept(*kept, strips)

    @torch.no_grad()
    def _strip(self, batch: Batch, maps: Tensor, outputs: Tensor, position: int) -> Tensor:
        row = position - batch.start
        size = tuple(maps.shape[-2:])
        predicted = enlarged(outputs[row : row + 1].float(), size, self.align_corners).argmax(1)
        image = enlarged(batch.images[row : row + 1], size)[0].mul(255).round()
        layers = torch.cat([image, maps[row : row + 1].to(image), predicted.to(image)])
        step = -(-max(size) // STRIP_SIDE)
        return layers[:, ::step, ::step].to(torch.uint8)

    def rows(self, kept: list[Kept], first: int) -> Tensor:
        return torch.cat([one.rows for one in kept], 1)
