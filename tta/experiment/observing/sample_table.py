"""Figures of single samples as they come, and what they add up to over batches and domains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from tta.reporting.records.run_directory import SAMPLES_FILE, RunDirectory
from tta.streams import StreamPlan
from tta.streams.translations import agreements
from tta.tasks.metric import SAMPLE_COLUMNS, Samples
from tta.tasks.task import CLASSIFICATION, PREDICTION, Task, measured


class SampleTable:
    """Metrics and counts of every sample of a stream, by its position.

    Args:
        plan: the stream's table.
        counters: names of what is counted beside the metrics.
        encoded_bytes: file sizes ``[n]`` of the images at given stream positions, for the uplink
            where ``uploads`` are counted; None for unknown ones.
        task: what the stream is judged by.

    Attributes:
        values: metrics and counts ``[M + K, N]``, NaN where none has been noted.
        seen: how many samples have been noted.
    """

    def __init__(
        self,
        plan: StreamPlan,
        counters: tuple[str, ...] = (),
        encoded_bytes: Callable[[np.ndarray], np.ndarray] | None = None,
        task: Task = CLASSIFICATION,
    ) -> None:
        self.plan, self.counters, self.encoded_bytes = plan, counters, encoded_bytes
        self.task = task
        rows = len(task.columns) + len(counters)
        self.values = np.full((rows, len(plan)), np.nan, np.float32)
        self.seen = 0

    def note(self, start: int, values: np.ndarray) -> None:
        """Note the metrics and counts ``[M + K, n]`` of the samples from ``start`` on."""
        stop = start + values.shape[1]
        self.values[:, start:stop] = values
        self.seen = stop

    def state_dict(self) -> dict[str, Any]:
        """Return what has been noted."""
        return {"samples": torch.from_numpy(self.values[:, : self.seen].copy())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what was noted at another time.

        Raises:
            ValueError: it has other rows.
        """
        values = state["samples"].numpy()
        if len(values) != len(self.values):
            raise ValueError(f"figures are {len(values)} per image, not {len(self.values)}")
        self.note(0, values)

    @property
    def correct(self) -> np.ndarray:
        """Whether the samples seen were classified rightly, ``[n]`` of 0 and 1."""
        return self.values[0, : self.seen]

    @property
    def known(self) -> np.ndarray:
        """Whether the samples seen are of known classes, bool ``[n]``."""
        if "known" not in self.task.columns:
            return np.ones(self.seen, bool)
        return self.values[self.task.columns.index("known"), : self.seen] > 0

    @property
    def score(self) -> np.ndarray:
        """How known the samples seen look ``[n]``, of a stream that shows unknown images."""
        return self.values[self.task.columns.index("score"), : self.seen]

    @property
    def accuracy(self) -> float:
        """Share of the known samples seen that were classified rightly; NaN before the first."""
        correct = self.correct[self.known]
        return float(correct.mean()) if len(correct) else float("nan")

    @property
    def confidence(self) -> np.ndarray:
        """Top-1 confidence ``[n]`` of the samples seen, NaN for outputs that are not finite.

        Of label maps it is a sum over pixels.
        """
        return self.values[self.task.columns.index("confidence"), : self.seen]

    @property
    def diverged(self) -> bool:
        """Whether some outputs were not finite."""
        return bool(np.isnan(self.confidence).any())

    @property
    def _counted(self) -> np.ndarray:
        """Whether the figures of the samples seen count ``[n]``."""
        return self.plan.counted[: self.seen]

    def pooled(self) -> dict[str, float]:
        """Return the metrics that pool, by name, over all samples seen; NaN where any is."""
        samples = self._columns(np.flatnonzero(self._counted))
        return measured([metric for metric in self.task.metrics if metric.pools], samples)

    def in_short(self) -> dict[str, str]:
        """Return the headline of the samples seen, in words, by what it is called."""
        return {"error": f"{100 * (1 - self.accuracy):.2f}%"}

    def _columns(self, chosen: slice | np.ndarray) -> dict[str, np.ndarray]:
        values = self.values[: len(self.task.columns), chosen].astype(np.float64)
        return dict(zip(self.task.columns, values, strict=True))

    def save(self, directory: RunDirectory) -> None:
        """Write what paired tests, reliability diagrams and ROC curves need of every sample."""
        counted = self._counted
        directory.write_arrays(
            SAMPLES_FILE,
            correct=self.correct[counted].astype(bool),
            confidence=self.confidence[counted].astype(np.float16),
            visit=self.plan.visit[: self.seen][counted].astype(np.int32),
            **{name: column[counted] for name, column in self._scores().items()},
        )

    def _scores(self) -> dict[str, np.ndarray]:
        if "score" not in self.task.columns:
            return {}
        return {"known": self.known, "score": self.score}

    def batches(self, starts: Sequence[int], stop: int) -> pd.DataFrame:
        """Return one row per batch; together, as at batch size 1 there are many.

        Args:
            starts: positions of the first samples of neighbouring batches.
            stop: position after the last sample of the last one.
        """
        starts = np.array(starts)
        rows = slice(starts[0], stop)
        sizes, firsts = np.diff(starts, append=stop), starts - starts[0]
        sums = np.add.reduceat(self._judged(rows), firsts, axis=1)
        metrics, counts = np.split(sums, [len(self.task.columns)])
        by_name = dict(zip(self.task.columns, metrics, strict=True))
        judged = by_name.get("known", sizes)
        means = np.stack([by_name[name] for name in SAMPLE_COLUMNS[1:]]) / np.where(
            judged, judged, np.nan
        )
        return pd.DataFrame(
            {
                "position": starts,
                **self._places(rows, firsts),
                "size": sizes,
                **({"known": judged.astype(int)} if "known" in by_name else {}),
                "correct": by_name["correct"].astype(int),
                **dict(zip(SAMPLE_COLUMNS[1:], means, strict=True)),
                **dict(zip(self.counters, counts.astype(int), strict=True)),
            }
        )

    def _places(self, rows: slice, firsts: np.ndarray) -> dict[str, np.ndarray]:
        """Return domain and severity of batches, "mixed" where there are several."""
        domain, severity = self.plan.domain[rows], self.plan.severity[rows]
        return {
            "domain": _common(np.array(self.plan.domains, object)[domain], domain, firsts),
            "severity": _common(severity, severity, firsts),
        }

    def tracked(self, rows: pd.DataFrame, first: int) -> pd.DataFrame:
        """Return what a tracker is sent of batches.

        Args:
            rows: of :meth:`batches`.
            first: position of their first sample.
        """
        judged = rows.get("known", rows["size"])
        right, before = self.correct[:first].sum(), self.known[:first].sum()
        running = 1.0 - (right + rows["correct"].cumsum()) / (before + judged.cumsum())
        return rows[list(SAMPLE_COLUMNS[1:])].assign(
            error=1.0 - rows["correct"] / judged, running_error=running
        )

    def _judged(self, rows: slice) -> np.ndarray:
        """Return a copy of the values in which metrics of unknown images are 0."""
        values = self.values[:, rows].astype(np.float64)
        if "known" in self.task.columns:
            unknown = values[self.task.columns.index("known")] == 0
            values[: len(SAMPLE_COLUMNS), unknown] = 0.0
        return values

    def visits(self) -> list[np.ndarray]:
        """Return the positions of the samples seen at each visit that has figures which count."""
        visits, counted = self.plan.visit[: self.seen], self._counted
        return [np.flatnonzero(visits == visit) for visit in pd.unique(visits[counted])]

    def domain_row(self, chosen: np.ndarray) -> dict[str, object]:
        """Return counts, accuracy, error and calibration of the samples of one visit.

        What the method counts is of all samples, the figures are of those that count.
        """
        counted = chosen[self._counted[chosen]]
        samples = self._columns(counted)
        return {
            "domain": self.plan.domains[self.plan.domain[chosen[0]]],
            "severity": int(self.plan.severity[chosen[0]]),
            "samples": len(counted),
            **self._counts(samples),
            **self.task.measure(samples),
            **self._consistency(chosen),
            **self._totals(chosen),
            **self._uplink(chosen),
        }

    def _counts(self, samples: dict[str, np.ndarray]) -> dict[str, object]:
        return {**_kinds(samples), "correct": int(samples["correct"].sum())}

    @property
    def prediction(self) -> np.ndarray:
        """Classes of the samples seen ``[n]``, NaN for none, of a stream with moved copies."""
        return self.values[self.task.columns.index(PREDICTION), : self.seen]

    def _consistency(self, chosen: np.ndarray) -> dict[str, object]:
        """Return the share of moved copies, if any, with the class of the unmoved image."""
        if self.plan.shift is None or not len(chosen):
            return {}
        same = agreements(self.plan, self.prediction, chosen)
        return {"consistency": float(np.nanmean(same)) if (same >= 0).any() else float("nan")}

    def _totals(self, chosen: np.ndarray) -> dict[str, int]:
        counted = self.values[len(self.task.columns) :, chosen].astype(np.float64).sum(1)
        return {name: int(total) for name, total in zip(self.counters, counted, strict=True)}

    def _uplink(self, chosen: np.ndarray) -> dict[str, object]:
        """Return what follows from the uploads among the samples ``chosen``."""
        if "uploads" not in self.counters:
            return {}
        row = len(self.task.columns) + self.counters.index("uploads")
        uploads = self.values[row, chosen].astype(np.int64)
        uplink: dict[str, object] = {"upload_fraction": uploads.sum() / len(chosen)}
        if self.encoded_bytes is not None:
            sent = uploads > 0
            uplink["uplink_encoded_bytes"] = int(self.encoded_bytes(chosen[sent]) @ uploads[sent])
        return uplink


def _kinds(samples: Samples) -> dict[str, int]:
    """Return how many images are known and unknown, where a stream may show both."""
    if "known" not in samples:
        return {}
    known = int(samples["known"].sum())
    return {"known": known, "unknown": len(samples["known"]) - known}


def _common(shown: np.ndarray, values: np.ndarray, firsts: np.ndarray) -> np.ndarray:
    """Return what is shown for the value that each batch has throughout, else "mixed"."""
    same = np.minimum.reduceat(values, firsts) == np.maximum.reduceat(values, firsts)
    return np.where(same, shown[firsts].astype(object), "mixed")
