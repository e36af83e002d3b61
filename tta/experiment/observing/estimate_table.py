"""Estimates of accuracy beside what they estimate, and what they add up to."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tta.streams import StreamPlan


class EstimateTable:
    """Estimates of every batch of a stream, and how far they are from its accuracy: fractions.

    Args:
        names: of the estimates; their columns are ``estimate_NAME`` and ``estimate_NAME_gap``.
        plan: the stream's table.

    Attributes:
        values: of each image's batch ``[2 E, N]``: estimate and gap by name; NaN before. Accuracy
            is that of known images: there is no gap, NaN, in a batch without any.
    """

    def __init__(self, names: Sequence[str], plan: StreamPlan) -> None:
        self.names, self.plan = tuple(names), plan
        parts = ("", "_gap")
        self.columns = [f"estimate_{name}{part}" for name in names for part in parts]
        self.values = np.full((len(self.columns), len(plan)), np.nan, np.float32)
        self.seen = 0

    def note(
        self,
        start: int,
        estimates: Sequence[Tensor],
        correct: np.ndarray,
        known: np.ndarray,
        sizes: Sequence[int],
    ) -> None:
        """Note neighbouring batches; the device is waited for.

        Args:
            start: position of the first image.
            estimates: of each batch ``[E]``.
            correct: whether the images were classified rightly ``[n]``, 0 or 1.
            known: whether they are of known classes ``[n]``.
            sizes: of the batches.
        """
        fetched = torch.stack(list(estimates)).cpu().double().numpy()
        firsts = np.cumsum([0, *sizes[:-1]])
        judged = np.add.reduceat(known.astype(np.float64), firsts)
        right = np.add.reduceat(correct * known.astype(np.float64), firsts)
        accuracy = right / np.where(judged > 0, judged, np.nan)
        gaps = np.abs(fetched - accuracy[:, None])
        both = np.stack([fetched, gaps], 2).reshape(len(sizes), -1)
        self.seen = start + len(correct)
        self.values[:, start : self.seen] = np.repeat(both, sizes, axis=0).T

    def batches(self, starts: Sequence[int]) -> dict[str, np.ndarray]:
        """Return the columns of batches that start at these positions."""
        return dict(zip(self.columns, self.values[:, np.array(starts)], strict=True))

    def domain_row(self, chosen: np.ndarray) -> dict[str, object]:
        """Return the means over images at some positions, of those whose figures count.

        Batches without a known image have an estimate and no gap: the mean gap is of the others.
        """
        counted = chosen[self.plan.counted[chosen]]
        values = self.values[:, counted].astype(np.float64)
        means = values.mean(1)
        for row, without in enumerate(np.isnan(values[1::2]) & ~np.isnan(values[::2])):
            if without.any():
                means[2 * row + 1] = _mean(values[2 * row + 1, ~without])
        return dict(zip(self.columns, map(float, means), strict=True))

    def figures(self) -> dict[str, dict[str, float | None]]:
        """Return, by name, mean estimate and mean absolute error over all images seen."""
        row = self.domain_row(np.arange(self.seen))
        found = {}
        for name in self.names:
            mean, gap = (_if_finite(row[f"estimate_{name}{part}"]) for part in ("", "_gap"))
            found[name] = {"mean": mean, "mean_absolute_error": gap}
        return found

    def state(self) -> Tensor:
        """Return what was noted so far."""
        return torch.from_numpy(self.values[:, : self.seen].copy())

    def load(self, values: Tensor) -> None:
        """Take over a :meth:`state`.

        Raises:
            ValueError: it is of other estimates, or of a longer stream.
        """
        if len(values) != len(self.values) or values.shape[1] > self.values.shape[1]:
            raise ValueError(f"estimates are of the shape {tuple(values.shape)}")
        self.seen = values.shape[1]
        self.values[:, : self.seen] = values.numpy()


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else math.nan


def _if_finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
