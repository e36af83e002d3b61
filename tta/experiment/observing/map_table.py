"""Confusion matrices of single images as they come, and what they add up to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from tta.experiment.observing.sample_table import SampleTable
from tta.reporting.records.run_directory import (
    CLASSES_FILE,
    MATRICES_FILE,
    STRIPS_FILE,
    RunDirectory,
)
from tta.reporting.records.stored_tables import to_csv
from tta.streams import StreamPlan
from tta.tasks.confusion import class_accuracies, class_iou, mean_iou, ratio, right
from tta.tasks.metric import NLL
from tta.tasks.segmentation import BINS, MATRIX, MIOU
from tta.tasks.task import SEGMENTATION

Palette = Sequence[tuple[int, int, int]]


class MapTable(SampleTable):
    """What is known of every image of a stream whose labels are maps, by its position.

    Args:
        plan: the stream's table.
        counters: see :class:`SampleTable`.
        encoded_bytes: likewise.
        classes: names of the classes in label order.
        palette: red, green and blue of each in pictures, 0 to 255; empty where nobody has chosen.

    Attributes:
        matrices: of :mod:`tta.tasks.confusion`, ``[N, C, C + 1]``.
        strips: of some images, see :class:`tta.experiment.observing.judging.Kept`.
    """

    def __init__(
        self,
        plan: StreamPlan,
        counters: tuple[str, ...] = (),
        encoded_bytes: Callable[[np.ndarray], np.ndarray] | None = None,
        classes: Sequence[str] = (),
        palette: Palette = (),
    ) -> None:
        super().__init__(plan, counters, encoded_bytes, SEGMENTATION)
        self.classes, self.palette = tuple(classes), palette
        count = len(self.classes)
        self.matrices = np.zeros((len(plan), count, count + 1), np.int32)
        self._total = np.zeros((count, count + 1), np.int64)
        self.strips: dict[int, torch.Tensor] = {}

    def note_matrices(self, start: int, matrices: np.ndarray) -> None:
        """Take the matrices of the samples from ``start`` on."""
        self.matrices[start : start + len(matrices)] = matrices
        counted = self.plan.counted[start : start + len(matrices)]
        self._total += matrices[counted].sum(0, dtype=np.int64)

    def note_strips(self, strips: Mapping[int, torch.Tensor]) -> None:
        """Take images with their label maps and predictions, by position."""
        self.strips |= {position: strip.cpu() for position, strip in strips.items()}

    def state_dict(self) -> dict[str, Any]:
        return {
            **super().state_dict(),
            MATRIX: torch.from_numpy(self.matrices[: self.seen].copy()),
            "strips": dict(self.strips),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        matrices = state[MATRIX].numpy()
        if matrices.shape[1:] != self.matrices.shape[1:]:
            raise ValueError(f"matrices are {matrices.shape[1:]}, not {self.matrices.shape[1:]}")
        super().load_state_dict(state)
        self.note_matrices(0, matrices)
        self.strips = dict(state["strips"])

    @property
    def known(self) -> np.ndarray:
        return np.ones(self.seen, bool)

    def in_short(self) -> dict[str, str]:
        return {SEGMENTATION.called(""): f"{100 * float(mean_iou(self._total)):.2f}%"}

    def _columns(self, chosen: slice | np.ndarray) -> dict[str, np.ndarray]:
        return {**super()._columns(chosen), MATRIX: self.matrices[chosen].astype(np.int64)}

    def save(self, directory: RunDirectory) -> None:
        """Write the matrices, from which every figure of any images follows, and IoU by class."""
        counted = self._counted
        columns = super()._columns(np.flatnonzero(counted))
        directory.write_arrays(
            MATRICES_FILE,
            matrix=self.matrices[: self.seen][counted],
            visit=self.plan.visit[: self.seen][counted].astype(np.int32),
            bins=np.stack([columns[name] for name in BINS], 1).astype(np.float32),
        )
        self._save_strips(directory)
        rows = [row for chosen in self.visits() for row in self._class_rows(chosen)]
        directory.write(CLASSES_FILE, to_csv(pd.DataFrame(rows)))

    def _save_strips(self, directory: RunDirectory) -> None:
        """Write those of the first image's size, which is that of all where images have one."""
        shapes = [strip.shape for strip in self.strips.values()]
        chosen = {at: strip for at, strip in self.strips.items() if strip.shape == shapes[0]}
        if not chosen:
            return
        numbers = self.plan.domain[list(chosen)]
        directory.write_arrays(
            STRIPS_FILE,
            strip=np.stack([strip.numpy() for strip in chosen.values()]),
            position=np.array(list(chosen)),
            domain=np.array([self.plan.domains[number] for number in numbers]),
            severity=self.plan.severity[list(chosen)].astype(np.int64),
            **({"palette": np.array(self.palette, np.uint8)} if self.palette else {}),
        )

    def _class_rows(self, chosen: np.ndarray) -> list[dict[str, object]]:
        matrix = self._sum(chosen[self._counted[chosen]])
        place = {
            "domain": self.plan.domains[self.plan.domain[chosen[0]]],
            "severity": int(self.plan.severity[chosen[0]]),
        }
        figures = zip(
            self.classes, class_iou(matrix), class_accuracies(matrix), matrix.sum(1), strict=True
        )
        return [
            {**place, "class": name, "iou": iou, "accuracy": accuracy, "pixels": int(pixels)}
            for name, iou, accuracy, pixels in figures
        ]

    def _sum(self, rows: slice | np.ndarray) -> np.ndarray:
        return self.matrices[rows].sum(0, dtype=np.int64)

    def class_figures(self) -> dict[str, list[float | None]]:
        """Return the IoU of each class by name: over the stream, then by visit; None for none."""
        counted = [chosen[self._counted[chosen]] for chosen in self.visits()]
        matrices = np.stack([self._sum(rows) for rows in counted])
        found = class_iou(np.concatenate([matrices.sum(0)[None], matrices]))
        columns = np.where(np.isnan(found), None, found).T.tolist()
        return dict(zip(self.classes, columns, strict=True))

    def batches(self, starts: Sequence[int], stop: int) -> pd.DataFrame:
        starts = np.array(starts)
        rows = slice(starts[0], stop)
        sizes, firsts = np.diff(starts, append=stop), starts - starts[0]
        matrices = np.add.reduceat(self.matrices[rows], firsts, axis=0, dtype=np.int64)
        values = np.add.reduceat(self.values[:, rows].astype(np.float64), firsts, axis=1)
        sums = dict(zip((*self.task.columns, *self.counters), values, strict=True))
        return pd.DataFrame(
            {
                "position": starts,
                **self._places(rows, firsts),
                "size": sizes,
                **_pixels(matrices),
                MIOU.name: mean_iou(matrices),
                "confidence": ratio(sums["confidence"], sums["sampled"]),
                NLL.name: ratio(sums["loss"], sums["sampled"]),
                **{name: sums[name].astype(int) for name in self.counters},
            }
        )

    def tracked(self, rows: pd.DataFrame, first: int) -> pd.DataFrame:
        """Return figures of batches, and the mIoU of all images from the first on."""
        ends = (rows["position"] + rows["size"]).to_numpy()
        sums = [self._sum(slice(*pair)) for pair in zip([first, *ends[:-1]], ends, strict=True)]
        running = self._sum(slice(0, first)) + np.cumsum(sums, axis=0)
        names = [MIOU.name, "confidence", NLL.name]
        return rows[names].assign(**{f"running_{MIOU.name}": mean_iou(running)})

    def _counts(self, samples: dict[str, np.ndarray]) -> dict[str, object]:
        found = _pixels(samples[MATRIX].sum(0))
        return {name: int(count) for name, count in found.items()}


def _pixels(matrices: np.ndarray) -> dict[str, np.ndarray]:
    """Return how many pixels count, and how many of them are right."""
    return {"pixels": matrices.sum((-2, -1)), "correct": right(matrices).sum(-1)}
