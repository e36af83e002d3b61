"""Runs read back from their folders."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from tta.foundation.errors import WRONG_VALUES, UserError
from tta.foundation.text import printable, printable_values
from tta.foundation.yaml_files import parse_yaml
from tta.reporting.records.done import DONE_FILE
from tta.reporting.records.run_directory import (
    MATRICES_FILE,
    SAMPLES_FILE,
    STRIPS_FILE,
    RunDirectory,
)
from tta.reporting.records.soundness import damage, wildness
from tta.reporting.records.stored_tables import check_domains, read_batches
from tta.tasks.confusion import mean_iou, right
from tta.tasks.metric import RunFigure
from tta.tasks.segmentation import BINS, MIOU
from tta.tasks.task import SEGMENTATION, Task, recorded_task
from tta.tasks.visits import judged_images

M = TypeVar("M")
UNREADABLE = (
    *WRONG_VALUES,  # ValueError: among others, text that is no UTF-8
    OSError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What the readers of JSON, YAML, CSV and archives raise for files that nobody has meant so."""
MOST_OPTIONS = 100_000
"""Values in a ``config.yaml``, counting what it repeats by reference."""


@dataclass(frozen=True)
class Samples:
    """What is known of every sample, in stream order.

    Attributes:
        correct: bool ``[N]``.
        confidence: top-1 confidence ``[N]``, 0 to 1; NaN where outputs were not finite.
        visit: number of the visit to a domain ``[N]``.
        known: which images are of known classes, bool ``[N]``; None where all are.
        score: how known each image looks ``[N]``; None likewise.
    """

    correct: np.ndarray
    confidence: np.ndarray
    visit: np.ndarray
    known: np.ndarray | None = None
    score: np.ndarray | None = None


@dataclass(frozen=True)
class Matrices:
    """What is known of every image whose label is a map, in stream order.

    Attributes:
        matrix: of :mod:`tta.tasks.confusion`, ``[N, C, C + 1]``.
        visit: number of the visit to a domain ``[N]``.
        bins: sums over pixels by bins of their confidence, see :data:`tta.tasks.segmentation.BINS`.
    """

    matrix: np.ndarray
    visit: np.ndarray
    bins: np.ndarray


@dataclass(frozen=True)
class Strips:
    """Some images of a stream whose labels are maps.

    Attributes:
        strip: three layers of the image, its label map and what was predicted, ``[K, 5, h, w]``.
        position: in the stream ``[K]``.
        domain: its name ``[K]``.
        severity: of the corruption ``[K]``.
        palette: red, green and blue of the classes, 0 to 255, ``[P, 3]``; None where nobody chose.
    """

    strip: np.ndarray
    position: np.ndarray
    domain: np.ndarray
    severity: np.ndarray
    palette: np.ndarray | None = None


@dataclass(frozen=True)
class Run:
    """One run directory.

    Attributes:
        path: the folder.
        summary: see :mod:`tta.experiment.figures`; its text is printable.
        config: the resolved options; empty where ``config.yaml`` is missing.
    """

    path: Path
    summary: dict[str, Any]
    config: dict[str, Any]

    @classmethod
    def load(cls, path: Path) -> Run:
        """Return the run in a folder.

        Raises:
            UserError: there is none, or its records are damaged or of another schema.
        """
        try:
            summary = RunDirectory.read_summary(path)
        except RecursionError as error:
            raise UserError(
                f"{str(path / 'summary.json')!r} is damaged: it is nested too deep; run again"
            ) from error
        fault = damage(summary)
        if fault:
            raise UserError(f"{str(path / 'summary.json')!r} is damaged: {fault}; run again")
        return cls(path, printable_values(summary), printable_values(_read_config(path)))

    @property
    def task(self) -> Task:
        """What the run was judged by."""
        return recorded_task(self.summary)

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return self.summary.get("finished", False)

    @property
    def warnings(self) -> list[str]:
        """Why the run's figures are doubtful, in words; empty for a sound one."""
        domain = self.summary.get("nonfinite_weights_after")
        broken = [f"weights not finite after {domain}"] if domain is not None else []
        return [*self.summary.get("warnings", ()), *broken]

    @property
    def written(self) -> str:
        """When the summary was last written: date and minute, in UTC.

        It is the file's time, since records hold none; a copy may have another.
        """
        seconds = (self.path / "summary.json").stat().st_mtime
        return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M")

    @property
    def cure(self) -> str:
        """What mends a damaged table of this run."""
        return "run again with --force" if self.finished else "finish the run with --resume"

    def has(self, name: str) -> bool:
        """Return whether the record has a file of this name."""
        return (self.path / name).is_file()

    def check(self) -> None:
        """Read every table of the record once.

        Raises:
            UserError: one is damaged, does not fit the summary, or is not as the run left it.
        """
        self.samples()
        self.matrices()
        if self.has("batches.csv"):
            self.batches()
        check_domains(self.path / "domains.csv", self.summary, self.cure)
        altered = self._altered()
        if altered:
            raise UserError(f"{altered}; {self.cure}")

    def _altered(self) -> str:
        """Return which of the files that are there is not as the run left it; empty for none.

        Earlier versions left no digests, and a table that was removed costs what it would show.
        """
        mark = self.path / DONE_FILE
        if not mark.is_file() or not mark.stat().st_size:
            return ""
        return RunDirectory.damage(self.path, tuple(filter(self.has, RunDirectory.files())))

    def domain_errors(self) -> pd.Series:
        """Return the error of each domain, the mean over its visits, in stream order.

        Where the headline is another figure, what it falls short of 1. Domains without an image of
        a known class, or a pixel that counts, have none.
        """
        name = self.task.headline.name
        rows = [row for row in self.summary["domains"] if row[name] is not None]
        domains = pd.DataFrame(rows)
        return self.task.shortfall(domains.groupby("domain", sort=False)[name].mean())

    def figure(self, figure: RunFigure) -> float:
        """Return a figure of the run; NaN where it is not known, or was not finite.

        Records made before pooled figures were kept have confidences, rounded, that the
        calibration error follows from.
        """
        if figure.name in self.summary or not figure.pooled:
            return _or_nan(self.summary.get(figure.name))
        samples = self.samples()
        if samples is None:
            return math.nan
        columns = {"confidence": samples.confidence.astype(float), "correct": samples.correct}
        return figure.metric.aggregate(columns)

    def samples(self) -> Samples | None:
        """Return what is known of single samples; None for a record without it.

        Raises:
            UserError: the file is damaged or does not fit the summary.
        """
        file = self.path / SAMPLES_FILE
        if self.task is SEGMENTATION or not self.has(SAMPLES_FILE):
            return None
        try:
            with np.load(file, allow_pickle=False) as arrays:
                names = Samples.__dataclass_fields__
                stored = {name: arrays[name] for name in names if name in arrays}
            samples = Samples(**stored)
            fits = self._fit(samples)
        except UNREADABLE as error:
            raise UserError(f"{str(file)!r} is damaged ({error}); {self.cure}") from error
        if not fits:
            raise UserError(f"{str(file)!r} does not fit its summary; {self.cure}")
        return samples

    def _fit(self, samples: Samples) -> bool:
        """Return whether the arrays are those of the summary's domains."""
        rows = self.summary["domains"]
        arrays = [samples.correct, samples.confidence, samples.visit]
        if "unknown_images" in self.summary:
            arrays += [samples.known, samples.score]
        if any(np.shape(array) != (self.summary["samples"],) for array in arrays):
            return False
        if [array.dtype.kind for array in arrays] != list("bfibf"[: len(arrays)]):
            return False
        visit = pd.factorize(samples.visit)[0]  # in order of appearance, as the rows are
        if np.bincount(visit).tolist() != [row["samples"] for row in rows]:
            return False
        expected = [(row["accuracy"] or 0) * judged_images(row) for row in rows]
        return np.allclose(np.bincount(visit, samples.correct), expected, rtol=0, atol=0.01)

    def matrices(self) -> Matrices | None:
        """Return the confusion matrices of single images; None for a record without them.

        Raises:
            UserError: the file is damaged or does not fit the summary.
        """
        return self._maps(MATRICES_FILE, Matrices, _maps_fit)

    def strips(self) -> Strips | None:
        """Return some images with labels and predictions; None for a record without them.

        Raises:
            UserError: the file is damaged or does not fit the summary.
        """
        return self._maps(STRIPS_FILE, Strips, _strips_fit)

    def _maps(self, name: str, kind: type[M], fit: Callable[[M, dict[str, Any]], bool]) -> M | None:
        file = self.path / name
        if self.task is not SEGMENTATION or not self.has(name):
            return None
        try:
            with np.load(file, allow_pickle=False) as arrays:
                known = [field.name for field in fields(kind) if field.name in arrays]  # type: ignore[arg-type]
                found = kind(**{name: arrays[name] for name in known})
            fits = fit(found, self.summary)
        except UNREADABLE as error:
            raise UserError(f"{str(file)!r} is damaged ({error}); {self.cure}") from error
        if not fits:
            raise UserError(f"{str(file)!r} does not fit its summary; {self.cure}")
        return found

    def batches(self) -> pd.DataFrame:
        """Return the rows of ``batches.csv``.

        Raises:
            UserError: the file is missing or cut short, or does not fit the summary.
        """
        try:
            return read_batches(self.path / "batches.csv", self.summary, self.cure)
        except UNREADABLE as error:
            file = self.path / "batches.csv"
            raise UserError(f"{str(file)!r} cannot be read ({error}); {self.cure}") from error


def _maps_fit(found: Matrices, summary: dict[str, Any]) -> bool:
    """Return whether matrices are those of the summary's domains."""
    rows, classes = summary["domains"], len(summary["class_iou"])
    if found.matrix.shape != (summary["samples"], classes, classes + 1):
        return False
    if found.matrix.dtype.kind not in "iu" or found.visit.shape != (summary["samples"],):
        return False
    if found.bins.shape != (summary["samples"], len(BINS)):
        return False
    total = mean_iou(found.matrix.sum(0, dtype=np.int64))
    if not np.isclose(total, summary[f"pooled_{MIOU.name}"], equal_nan=True):
        return False
    visit = pd.factorize(found.visit)[0]  # in order of appearance, as the rows are
    if np.bincount(visit).tolist() != [row["samples"] for row in rows]:
        return False
    counts = [(int(matrix.sum()), int(right(matrix).sum())) for matrix in _by_visit(found, visit)]
    return counts == [(row["pixels"], row["correct"]) for row in rows]


def _strips_fit(found: Strips, summary: dict[str, Any]) -> bool:
    """Return whether pictures are of the stream that the summary tells of."""
    count = len(found.position)
    names = {row["domain"] for row in summary["domains"]}
    return (
        found.strip.ndim == 4
        and found.strip.shape[:2] == (count, 5)
        and found.strip.dtype == np.uint8
        and count > 0
        and {len(found.domain), len(found.severity)} == {count}
        and (found.palette is None or found.palette.shape[1:] == (3,))
        and {printable(str(name)) for name in found.domain} <= names
    )


def _by_visit(found: Matrices, visit: np.ndarray) -> Iterator[np.ndarray]:
    for number in range(visit.max() + 1):
        yield found.matrix[visit == number].sum(0, dtype=np.int64)


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _read_config(path: Path) -> dict[str, Any]:
    file = path / "config.yaml"
    if not file.exists():
        return {}
    if not file.is_file():
        raise UserError(f"{str(file)!r} is no file; remove it")
    try:
        config = parse_yaml(file.read_text(encoding="utf-8"), file.name)
    except (UserError, *UNREADABLE) as error:
        raise UserError(f"{str(file)!r} is damaged; run again with --force") from error
    fault = wildness(config, MOST_OPTIONS, finite=False)
    if fault or not isinstance(config, dict):
        reason = fault or "it holds no options by name"
        raise UserError(f"{str(file)!r} is damaged: {reason}; run again with --force")
    return config
