"""Whether a method still adapts, or has collapsed onto a few classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tta.foundation.from_host import from_host
from tta.streams import StreamPlan
from tta.streams.stream import Batch
from tta.tasks.finite import finite_rows
from tta.tasks.metrics import log_probabilities

BLOCK = 256
"""Images after which a verdict is due."""
MIN_BLOCK = 32
"""Fewer known images than this, before a reset or the end, get no verdict."""
CLASSES = 4
"""Effective number of classes that a block's labels must show, or half the stream's entropy."""
SHARE = 0.5
"""Of the entropy of the labels, and of the first predictions, that collapsed ones fall below."""
REFERENCE_IMAGES = 128
"""Images of a suspicious block that the method, as it was before the stream, predicts again."""


@dataclass(frozen=True)
class _Pending:
    start: int
    stop: int
    values: Tensor
    visits: list[int]
    distance: Tensor | None


class CollapseWatch:
    """Follows predicted classes, entropy and weights, and says where a run collapsed.

    The stream is cut into blocks of :data:`BLOCK` images. A run has collapsed in the first block
    in which

    1. the entropy H of the histogram of predicted classes is below half of that of the labels:
       most images are called one of a few classes although many were shown; and
    2. it is also below half of that of the classes which the method, as it was before the
       stream, predicts for the same images.

    Why these: histograms are compared with those of the labels of the very same images, so that
    imbalanced streams are judged by what they showed; a block whose labels are few (sorted or
    correlated streams) grows until they have :data:`CLASSES` effective classes, exp(H), or half
    the entropy of all labels of the stream, and until it has :data:`MIN_BLOCK` known images, where
    most are unknown. Histograms of equally many images are biased
    alike, so blocks may be short. Entropies, not accuracies: a method may be wrong everywhere
    without a collapse. The second condition tells a collapse from a domain that is hard: the
    source model, too, calls nearly every image of a heavy fog the same class, but it did so
    before, and a method that changes nothing can never collapse. Mean entropy is no criterion:
    it falls towards 0 where entropy is minimised, and rises where a teacher decays.

    A rest before a reset or the end whose labels are too few gets no verdict, and images whose
    outputs are not finite count for nothing here: they have no class, see
    :mod:`tta.tasks.finite`. Nor do unknown images, though they lengthen no block that has enough
    known ones.

    Labels decide what is written about a method; it sees none of them. The verdict depends on
    the stream alone, not on when it is read. No block spans a reset.

    Args:
        plan: the stream's table.
        labels: labels ``[N]`` in stream order, -1 for unknown images.
        starts: positions of the batches' first images.
        outputs: see :func:`tta.tasks.metrics.log_probabilities`.
        model: that adapts.
        source: the same model before adaptation; its weights are kept in host memory.
        initial: returns what the method, as before the stream, predicts at given positions:
            classes ``[n]``; must leave the method as it is.

    Attributes:
        collapsed_at: position at which the collapsed block starts; None where there is none.
    """

    def __init__(
        self,
        plan: StreamPlan,
        labels: np.ndarray,
        starts: np.ndarray,
        outputs: str,
        model: nn.Module,
        source: nn.Module,
        initial: Callable[[np.ndarray], np.ndarray],
    ) -> None:
        self.labels, self.starts, self.outputs = labels, starts, outputs
        self.initial = initial
        self.collapsed_at: int | None = None
        self.values = np.full((2, len(plan)), np.nan, np.float32)
        self.distances: dict[int, float] = {}
        self.seen = 0
        self._weights = _pairs(model, source)
        self._blocks = blocks(labels, plan.reset_before)
        self._judged = 0
        self._pending: list[_Pending] = []
        self._visit, self._counted = plan.visit, plan.counted
        self._last = np.zeros(len(plan), bool)  # whether a sample is the last of its visit
        self._last[len(plan) - 1 - np.unique(plan.visit[::-1], return_index=True)[1]] = True

    @property
    def batch(self) -> int | None:
        """Number, from 1, of the batch in which the collapsed block starts; None for none."""
        if self.collapsed_at is None:
            return None
        return int(np.searchsorted(self.starts, self.collapsed_at, side="right"))

    @torch.no_grad()
    def update(self, batch: Batch, outputs: Tensor) -> None:
        """Note one batch's outputs ``[B, C]``; the device is not waited for."""
        values = self._values(log_probabilities(outputs, self.outputs), outputs)
        rows = slice(batch.start, batch.stop)
        visits = self._visit[rows][self._last[rows]].tolist()
        distance = relative_distance(self._weights) if visits else None
        self._pending.append(_Pending(batch.start, batch.stop, values, visits, distance))

    def _values(self, log_p: Tensor, outputs: Tensor) -> Tensor:
        """Return predicted class and entropy of each image ``[2, B]``, NaN where there is none."""
        terms = log_p.exp() * log_p  # of a class that is ruled out, 0 times -inf
        entropy = -terms.where(log_p > -torch.inf, 0.0).sum(1)
        values = torch.stack([outputs.argmax(1).to(entropy.dtype), entropy])
        return values.where(finite_rows(outputs, self.outputs), torch.nan)

    def read(self) -> None:
        """Fetch what is pending."""
        if not self._pending:
            return
        first, self.seen = self._pending[0].start, self._pending[-1].stop
        fetched = torch.cat([item.values for item in self._pending], 1)
        self.values[:, first : self.seen] = fetched.cpu().numpy()
        for item in self._pending:
            self.distances.update(dict.fromkeys(item.visits, _number(item.distance)))
        self._pending.clear()

    def judge(self) -> None:
        """Judge the blocks that are complete; the method must be between two batches."""
        while self._judged < len(self._blocks) and self.collapsed_at is None:
            start, stop = self._blocks[self._judged]
            if stop > self.seen:
                return
            self._judged += 1
            if self._has_collapsed(start, stop):
                self.collapsed_at = start

    def _has_collapsed(self, start: int, stop: int) -> bool:
        judged = ~np.isnan(self.values[0, start:stop]) & (self.labels[start:stop] >= 0)
        positions = start + np.flatnonzero(judged)
        if len(positions) < MIN_BLOCK:
            return False
        predicted = self.values[0, positions].astype(np.int64)
        if class_entropy(predicted) >= SHARE * class_entropy(self.labels[positions]):
            return False
        some = np.linspace(0, len(predicted) - 1, min(len(predicted), REFERENCE_IMAGES)).astype(int)
        before = class_entropy(self.initial(positions[some]))
        return class_entropy(predicted[some]) < SHARE * before

    def domain_row(self, chosen: np.ndarray) -> dict[str, object]:
        """Return the figures of one visit, whose samples are at the positions ``chosen``.

        Mean entropy (nats), effective number of predicted classes, and relative distance of the
        weights to the source's after the visit (NaN before its end). NaN where outputs were not
        finite: entropy where any, classes where all. The first two are of the images whose figures
        count, unknown ones among them: who has no labels cannot tell these apart.
        """
        counted = chosen[self._counted[chosen]]
        predicted, entropy = self.values[:, counted].astype(np.float64)
        known = predicted[~np.isnan(predicted)].astype(np.int64)
        return {
            "entropy": entropy.mean(),
            "predicted_classes": float(np.exp(class_entropy(known))) if len(known) else np.nan,
            "weight_distance": self.distances.get(int(self._visit[chosen[0]]), np.nan),
        }

    def nonfinite_weights_after(self) -> int | None:
        """Return the first visit after which a weight was not finite (or beyond float32)."""
        visits = [visit for visit, moved in self.distances.items() if not np.isfinite(moved)]
        return min(visits, default=None)

    def state_dict(self) -> dict[str, Any]:
        """Return what has been followed so far."""
        self.read()
        return {
            "values": torch.from_numpy(self.values[:, : self.seen].copy()),
            "distances": self.distances,
            "judged": self._judged,
            "collapsed_at": self.collapsed_at,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state_dict`."""
        values = state["values"].numpy()
        self.seen = values.shape[1]
        self.values[:, : self.seen] = values
        self.distances = dict(state["distances"])
        self._judged, self.collapsed_at = state["judged"], state["collapsed_at"]


def class_entropy(classes: np.ndarray) -> float:
    """Return the entropy (nats) of the histogram of ``classes`` ``[n]``, integers from 0.

    What is negative is none of them; of nothing the entropy is 0.
    """
    return histogram_entropy(np.bincount(classes[classes >= 0]))


def histogram_entropy(counts: np.ndarray) -> float:
    """Return the entropy (nats) of a histogram ``[C]``; 0 where it counts nothing."""
    share = counts / max(1, counts.sum())
    share = share[share > 0]
    return float(-(share * np.log(share)).sum())


def blocks(labels: np.ndarray, reset_before: np.ndarray) -> list[tuple[int, int]]:
    """Return (start, stop) of the parts of a stream that get a verdict, in order."""
    needed = min(np.log(CLASSES), 0.5 * class_entropy(labels))
    edges = sorted({0, *np.flatnonzero(reset_before).tolist(), len(labels)})
    found = []
    for first, end in zip(edges[:-1], edges[1:], strict=True):
        start, stop = first, min(first + BLOCK, end)
        while stop - start >= MIN_BLOCK:
            shown = labels[start:stop]
            if (shown >= 0).sum() >= MIN_BLOCK and class_entropy(shown) >= needed:
                found.append((start, stop))
                start = stop
            elif stop == end:
                break
            stop = min(stop + BLOCK, end)
    return found


def _pairs(model: nn.Module, source: nn.Module) -> list[tuple[Tensor, Tensor]]:
    before = dict(source.named_parameters())
    return [
        (parameter, _on_host(before[name], parameter.device))
        for name, parameter in model.named_parameters()
        if name in before and before[name].shape == parameter.shape
    ]


def _on_host(values: Tensor, device: torch.device) -> Tensor:
    """Return values in host memory, from where they come to ``device`` without a wait."""
    values = values.detach().cpu()
    return values.pin_memory() if device.type == "cuda" else values


def relative_distance(weights: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Return the L2 distance of (current, source) weights over the norm of the source's."""
    moved, size = [], []
    for current, source in weights:
        source = from_host(source, current.device)
        moved.append((current - source).norm())
        size.append(source.norm())
    return torch.stack(moved).norm() / torch.stack(size).norm()


def _number(value: Tensor | None) -> float:
    return float("nan") if value is None else value.item()
