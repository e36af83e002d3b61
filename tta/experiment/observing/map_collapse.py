"""Whether a method that segments has collapsed onto a few classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tta.experiment.observing.collapse import SHARE, CollapseWatch, histogram_entropy
from tta.streams import StreamPlan
from tta.tasks.finite import finite_rows
from tta.tasks.unlabelled import entropies

BLOCK = 32
"""Images after which a verdict is due: each has thousands of pixels."""
MIN_BLOCK = 8
"""Fewer images than this, before a reset or the end, get no verdict."""
CLASSES = 1.5
"""Effective number of classes that the pixels of a block must show."""


class MapCollapseWatch(CollapseWatch):
    """What :class:`CollapseWatch` is for classes of images, for those of pixels.

    The histograms are of the pixels that count, of all images of a block: those of the labels, of
    the predictions, and of what the method, as it was before the stream, predicts for the same
    images. The rules are the same two.

    Args:
        plan: the stream's table.
        starts: positions of the batches' first images.
        outputs: see :func:`tta.tasks.metrics.log_probabilities`.
        model: that adapts.
        source: the same model before adaptation.
        initial: returns the matrices ``[n, C, C + 1]`` of what the method, as before the stream,
            predicts at given positions; must leave the method as it is.

    Attributes:
        matrices: of the stream's images ``[N, C, C + 1]``, filled by the recorder before a verdict.
    """

    matrices: np.ndarray

    def __init__(
        self,
        plan: StreamPlan,
        starts: np.ndarray,
        outputs: str,
        model: nn.Module,
        source: nn.Module,
        initial: Callable[[np.ndarray], np.ndarray],
    ) -> None:
        labels = np.zeros(len(plan), np.int64)
        super().__init__(plan, labels, starts, outputs, model, source, initial)
        self._blocks = _blocks(plan.reset_before)

    def _values(self, log_p: Tensor, outputs: Tensor) -> Tensor:
        entropy = entropies(log_p).flatten(1).mean(1)
        finite = finite_rows(outputs, self.outputs).flatten(1).all(1)
        return torch.stack([torch.zeros_like(entropy), entropy]).where(finite, torch.nan)

    def _has_collapsed(self, start: int, stop: int) -> bool:
        positions = start + np.flatnonzero(~np.isnan(self.values[0, start:stop]))
        shown, predicted = _entropies(self.matrices[positions])
        if len(positions) < MIN_BLOCK or shown < np.log(CLASSES) or predicted >= SHARE * shown:
            return False
        return predicted < SHARE * _entropies(self.initial(positions))[1]

    def domain_row(self, chosen: np.ndarray) -> dict[str, Any]:
        counted = chosen[self._counted[chosen]]
        return {
            "entropy": self.values[1, counted].astype(np.float64).mean(),
            "predicted_classes": float(np.exp(_entropies(self.matrices[counted])[1])),
            "weight_distance": self.distances.get(int(self._visit[chosen[0]]), np.nan),
        }


def _entropies(matrices: np.ndarray) -> tuple[float, float]:
    """Return the entropies (nats) of the histograms of labels, and of predictions."""
    total = matrices.sum(0, dtype=np.int64)
    return histogram_entropy(total.sum(1)), histogram_entropy(total[:, :-1].sum(0))


def _blocks(reset_before: np.ndarray) -> list[tuple[int, int]]:
    """Return (start, stop) of the parts of a stream that get a verdict, in order."""
    edges = sorted({0, *np.flatnonzero(reset_before).tolist(), len(reset_before)})
    pairs = zip(edges[:-1], edges[1:], strict=True)
    parts = [
        (start, min(start + BLOCK, stop))
        for first, stop in pairs
        for start in range(first, stop, BLOCK)
    ]
    return [(start, stop) for start, stop in parts if stop - start >= MIN_BLOCK]
