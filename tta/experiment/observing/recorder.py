"""Counts on the device, records on disk, progress on the terminal."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tta.backbones.passes import Passes
from tta.experiment.observing.collapse import CollapseWatch
from tta.experiment.observing.estimates import Estimator
from tta.experiment.observing.evidence import Evidence
from tta.experiment.observing.judging import ClassJudge, Judge, Kept
from tta.experiment.observing.map_table import MapTable, Palette
from tta.experiment.observing.progress import make_progress
from tta.experiment.observing.sample_table import SampleTable
from tta.experiment.observing.trackers import Tracker
from tta.foundation.clocks import Clock, clock_of, gpu_uuid
from tta.foundation.energy import EnergyMeter
from tta.foundation.text import printable
from tta.reporting.records.run_directory import RunDirectory
from tta.reporting.records.stored_tables import to_csv
from tta.streams import StreamPlan
from tta.streams.stream import Batch
from tta.tasks.known_scores import energy
from tta.tasks.task import PREDICTION, task_of

DISPLAY_INTERVAL = 0.5
"""Seconds between fetches from the device."""
PASS_COUNTERS = ("forwards", "backwards")
"""Images that went through the model, charged to the last image of a batch."""
MapParts = tuple[Judge, Sequence[str], Palette]
"""Judges outputs by label maps; the names of their classes, and their colours in pictures."""


@dataclass(frozen=True, slots=True)
class _Pending:
    start: int
    stop: int
    kept: Kept
    counted: Tensor | None
    spans: list[tuple[Any, Any]]
    passes: tuple[int, ...]
    estimate: Tensor | None = None


class Recorder:
    """Observer of the loop that turns outputs into figures.

    Per-sample metrics are computed on the device, and fetched, every :data:`DISPLAY_INTERVAL`:
    the loop never waits for the device between fetches.

    Args:
        plan: the stream's table.
        labels: labels ``[N]`` in stream order.
        outputs: what the method returns, see :func:`tta.tasks.metrics.log_probabilities`.
        counters: names of what the method counts beside.
        encoded_bytes: file sizes ``[n]`` of the images at given stream positions, for the uplink
            of a method that counts ``uploads``.
        device: where outputs are.
        directory: where batch records go; None keeps figures in memory alone.
        progress: show it on standard error, see :mod:`tta.experiment.observing.progress`.
        passes: of the model; what it counted before is forgotten. None counts none.
        watch: says where the run collapsed; None for none.
        tracker: is sent the figures of batches as they are fetched; None for none.
        clock: of the batches' times; None for that of the device.
        score: of outputs ``[B, C]``: how much each image looks known ``[B]``, asked only where
            the stream shows unknown images; None for the energy.
        evidence: figures without labels, which no time or pass is counted for; None for none.
        estimator: whose latest estimates are recorded; None for none.
        label: what the display of progress calls the run, where there are several.
        maps: None where images have classes, ``labels``.

    Attributes:
        samples: the figures that have been fetched.
        seconds: that their batches took.
        clock: tells that.
        is_alone: whether the energy that the machine takes is that of this run.
    """

    def __init__(
        self,
        plan: StreamPlan,
        labels: np.ndarray,
        outputs: str,
        counters: tuple[str, ...] = (),
        device: torch.device | str = "cpu",
        directory: RunDirectory | None = None,
        progress: bool = False,
        encoded_bytes: Callable[[np.ndarray], np.ndarray] | None = None,
        passes: Passes | None = None,
        watch: CollapseWatch | None = None,
        tracker: Tracker | None = None,
        clock: Clock | None = None,
        score: Callable[[Tensor], Tensor] | None = None,
        evidence: Evidence | None = None,
        estimator: Estimator | None = None,
        label: str = "",
        maps: MapParts | None = None,
    ) -> None:
        self.plan, self.directory = plan, directory
        self.passes, self.watch, self.tracker = passes, watch, tracker
        self.evidence, self.estimator = evidence, estimator
        self._take_passes()
        counters = (*counters, *PASS_COUNTERS) if passes else counters
        self.samples: SampleTable
        self._judge: Judge
        if maps is None:
            task = task_of(labels)
            if plan.shift is not None:
                task = dataclasses.replace(task, columns=(*task.columns, PREDICTION))
            self.samples = SampleTable(plan, counters, encoded_bytes, task)
            score = score or partial(energy, kind=outputs)
            self._judge = ClassJudge(labels, outputs, task, score, device)
        else:
            self._judge, classes, palette = maps
            self.samples = MapTable(plan, counters, encoded_bytes, classes, palette)
        self.seconds = 0.0
        on_gpu = torch.device(device).type == "cuda"
        name = partial(gpu_uuid, torch.device(device)) if on_gpu else None
        self._energy, self._joules_before = EnergyMeter(name), 0.0
        self._pending: list[_Pending] = []
        self._wrote_header = False
        self._progress = make_progress(progress, len(plan), label)
        self.clock = clock_of(device) if clock is None else clock
        self.is_alone = True
        self.restart_clock()

    def update(self, batch: Batch, outputs: Tensor, counted: Tensor | None = None) -> None:
        """Note one batch's outputs ``[B, C, ...]`` and counters ``[K, B]``, kept as given."""
        now = self.clock.mark()
        spans, self._spans = [*self._spans, (self._since, now)], []
        passes = self._take_passes()
        estimate = self.estimator.latest if self.estimator else None
        kept = self._judge.keep(batch, outputs)
        item = _Pending(batch.start, batch.stop, kept, counted, spans, passes, estimate)
        self._pending.append(item)
        if self.watch is not None:
            self.watch.update(batch, outputs)
        self._since = now if kept.matrices is None else self.clock.mark()
        if self.evidence is not None:
            with self.apart():
                self.evidence.update(batch, outputs)
        if time.perf_counter() - self._last_flush > DISPLAY_INTERVAL:
            self.flush()
            with self.apart():
                self.judge()

    def _take_passes(self) -> tuple[int, ...]:
        return self.passes.take() if self.passes else ()

    @contextlib.contextmanager
    def apart(self) -> Iterator[None]:
        """Return a context in which nothing is a cost of the method: no time, no pass."""
        self._spans.append((self._since, self.clock.mark()))
        with self.passes.paused() if self.passes else contextlib.nullcontext():
            yield
        self._since = self.clock.mark()

    def charge(self, span: tuple[Any, Any]) -> None:
        """Count what passed between two marks, apart from this run, as time of its next batch."""
        self._spans.append(span)

    def restart_clock(self) -> None:
        """Start timing: the first batch is timed from here."""
        self._since, self._last_flush = self.clock.mark(), time.perf_counter()
        self._spans: list[tuple[Any, Any]] = []

    def settle(self) -> None:
        """Wait for the device, where the clock does not; the wait belongs to the latest batch."""
        self.clock.settle()
        if self._pending:
            self._pending[-1].spans.append((self._since, self.clock.mark()))

    def judge(self) -> None:
        """Say whether the run has collapsed by now; only between two batches."""
        if self.watch is not None:
            self.watch.judge()

    def flush(self) -> None:
        """Fetch what is pending, write it down and show it."""
        # Taken first: an interrupted flush is not written twice.
        pending, self._pending = self._pending, []
        if pending:
            first, last = pending[0].start, pending[-1].stop
            fetched = self._metrics(pending).cpu().numpy()
            self.samples.note(first, np.concatenate([fetched, self._passes_by_image(pending)]))
            self._note_matrices(pending)
            self._note_estimates(pending, last)
            self._energy.read()
            seconds = [sum(self.clock.seconds(*span) for span in item.spans) for item in pending]
            self.seconds += sum(seconds)
            if self.watch is not None:
                self.watch.read()
            self._write(pending, seconds)
            self._show(last - first)
        self._last_flush = time.perf_counter()

    def _note_estimates(self, pending: list[_Pending], stop: int) -> None:
        estimates = [item.estimate for item in pending if item.estimate is not None]
        if self.estimator is not None:
            rows = slice(pending[0].start, stop)
            sizes = [item.stop - item.start for item in pending]
            correct, known = self.samples.correct[rows], self.samples.known[rows]
            self.estimator.table.note(rows.start, estimates, correct, known, sizes)

    def _metrics(self, pending: list[_Pending]) -> Tensor:
        """Return metrics and counters ``[M + K, N]``."""
        metrics = self._judge.rows([item.kept for item in pending], pending[0].start)
        counted = [item.counted for item in pending if item.counted is not None]
        return torch.cat([metrics, torch.cat(counted, 1).to(metrics.dtype)]) if counted else metrics

    def _note_matrices(self, pending: list[_Pending]) -> None:
        matrices = [item.kept.matrices for item in pending if item.kept.matrices is not None]
        if isinstance(self.samples, MapTable):
            self.samples.note_matrices(pending[0].start, torch.cat(matrices).cpu().numpy())
            for item in pending:
                self.samples.note_strips(item.kept.strips)

    def _passes_by_image(self, pending: list[_Pending]) -> np.ndarray:
        """Return the passes ``[2, N]`` of batches, or nothing where none are counted."""
        first = pending[0].start
        rows = np.zeros((len(pending[0].passes), pending[-1].stop - first), np.float32)
        for item in pending:
            rows[:, item.stop - 1 - first] = item.passes
        return rows

    @property
    def joules(self) -> float | None:
        """Energy of the machine since the recording began; None where it cannot be told apart."""
        if not self.is_alone or self._energy.joules is None or self._joules_before is None:
            return None
        return self._joules_before + self._energy.joules

    def state_dict(self) -> dict[str, Any]:
        """Return what has been recorded so far; every row of it is in the directory."""
        self.flush()
        watch = None if self.watch is None else self.watch.state_dict()
        state = self.samples.state_dict()
        state |= {"seconds": self.seconds, "watch": watch, "joules": self.joules}
        if self.evidence is not None:
            state["evidence"] = self.evidence.state_dict()
        if self.estimator is not None:
            state["estimator"] = self.estimator.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state_dict`; the directory must hold its rows."""
        self.samples.load_state_dict(state)
        self.seconds, self._joules_before = state["seconds"], state["joules"]
        if self.watch is not None:
            self.watch.load_state_dict(state["watch"])
        if self.evidence is not None:
            self.evidence.load_state_dict(state["evidence"])
        if self.estimator is not None:
            self.estimator.load_state_dict(state["estimator"])
        self._wrote_header = True
        self._progress.go_on_from(self.samples.seen)

    def domains(self) -> pd.DataFrame:
        """Return one row per visit to a domain: counts, accuracy, error and calibration."""
        tables = [self.samples, self.watch, self.estimator and self.estimator.table]
        rows = [table.domain_row for table in tables if table is not None]
        visits = self.samples.visits()
        return pd.DataFrame([{k: v for row in rows for k, v in row(one).items()} for one in visits])

    def close(self) -> None:
        """Flush and end the display of progress."""
        self.flush()
        self._progress.close()

    def finish(self, summary: dict[str, Any]) -> None:
        """Send the summary to the tracker, and end it."""
        if self.tracker is not None:
            self.tracker.finish(summary)

    def _show(self, count: int) -> None:
        samples = self.samples
        domain = self.plan.domains[self.plan.domain[samples.seen - 1]]
        figures = samples.in_short()
        if self.watch is not None and self.watch.batch is not None:
            figures["collapsed"] = f"at batch {self.watch.batch}"
        if samples.diverged:
            figures["not finite"] = f"from image {int(np.isnan(samples.confidence).argmax())}"
        self._progress.show(count, printable(domain), figures)

    def _write(self, pending: list[_Pending], seconds: list[float]) -> None:
        starts = [item.start for item in pending]
        rows = self.samples.batches(starts, pending[-1].stop)
        if self.estimator is not None:
            rows = rows.assign(**self.estimator.table.batches(starts))
        if self.directory is not None:
            self._append(pending, seconds, rows)
        if self.tracker is not None:
            self._track(self.tracker, pending, rows)

    def _track(self, tracker: Tracker, pending: list[_Pending], rows: pd.DataFrame) -> None:
        tracked = self.samples.tracked(rows, pending[0].start)
        for item, row in zip(pending, tracked.to_dict("records"), strict=True):
            tracker.log(item.stop, row)

    def _append(self, pending: list[_Pending], seconds: list[float], batches: pd.DataFrame) -> None:
        timing = pd.DataFrame({"position": [item.start for item in pending], "seconds": seconds})
        for name, frame in (("batches.csv", batches), ("timing.csv", timing)):
            text = to_csv(frame, header=not self._wrote_header, float_format="%.7g")
            self.directory.append(name, text)
        self._wrote_header = True
