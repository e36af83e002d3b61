"""Runs read back from their folders."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from tta.errors import UserError
from tta.reporting.run_directory import SAMPLES_FILE, RunDirectory
from tta.reporting.run_folders import check_run_folders, no_run

TEXTS = ("method", "title", "dataset", "scenario", "backbone", "predicts", "fingerprint")
DIGESTS = ("stream_digest", "data_digest", "weights_sha256")
FIGURES = ("mean_error", "mean_accuracy", "pooled_error")
CALIBRATION = ("mean_ece", "mean_nll", "mean_brier")
"""Figures that are None where a run's outputs were not all numbers."""
DOMAIN_FIGURES = ("samples", "error", "accuracy")


@dataclass(frozen=True)
class Samples:
    """What is known of every sample, in stream order.

    Attributes:
        correct: bool ``[N]``.
        confidence: top-1 confidence ``[N]``, 0 to 1.
        visit: number of the visit to a domain ``[N]``.
    """

    correct: np.ndarray
    confidence: np.ndarray
    visit: np.ndarray


@dataclass(frozen=True)
class Run:
    """One run directory.

    Attributes:
        path: the folder.
        summary: see :mod:`tta.reporting.summary`.
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
        summary = RunDirectory.read_summary(path)
        damage = _damage(summary)
        if damage:
            raise UserError(f"{str(path / 'summary.json')!r} is damaged: {damage}; run again")
        return cls(path, summary, _read_config(path))

    def domain_errors(self) -> pd.Series:
        """Return the error of each domain, the mean over its visits, in stream order."""
        domains = pd.DataFrame(self.summary["domains"])
        return domains.groupby("domain", sort=False)["error"].mean()

    def samples(self) -> Samples | None:
        """Return what is known of single samples; None for a record without it.

        Raises:
            UserError: the file is damaged or does not fit the summary.
        """
        file = self.path / SAMPLES_FILE
        if not file.exists():
            return None
        try:
            with np.load(file, allow_pickle=False) as arrays:
                samples = Samples(*(arrays[name] for name in Samples.__dataclass_fields__))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(
                f"{str(file)!r} is damaged ({error}); run again with --force"
            ) from error
        if len(samples.correct) != self.summary["samples"]:
            raise UserError(f"{str(file)!r} does not fit its summary; run again with --force")
        return samples

    def batches(self) -> pd.DataFrame:
        """Return the rows of ``batches.csv``.

        Raises:
            UserError: the file is missing or cut short.
        """
        file = self.path / "batches.csv"
        try:
            text = file.read_text(encoding="utf-8")
            frame = pd.read_csv(io.StringIO(text))
            seen = int(pd.to_numeric(frame["size"]).sum())
            frame["correct"] = pd.to_numeric(frame["correct"])
        except (OSError, ValueError, KeyError) as error:
            raise UserError(
                f"{str(file)!r} cannot be read ({error}); run again with --force"
            ) from error
        if not text.endswith("\n") or seen != self.summary["samples"]:
            raise UserError(
                f"{str(file)!r} is cut short: {seen} of {self.summary['samples']} samples; "
                "run again with --force"
            )
        return frame


def _damage(summary: dict[str, Any]) -> str:
    """Return what keeps a summary from being shown; empty where nothing does."""
    checks = [
        *((name, isinstance(summary.get(name), str)) for name in (*TEXTS, *DIGESTS)),
        *((name, _is_number(summary.get(name))) for name in FIGURES),
        *((name, _is_number(summary.get(name, ""), allow_none=True)) for name in CALIBRATION),
        *((name, isinstance(summary.get(name), int)) for name in ("samples", "batch_size", "seed")),
        *((name, isinstance(summary.get(name), dict)) for name in ("params", "counters", "cost")),
        ("domains", _are_domains(summary.get("domains"))),
    ]
    return ", ".join(f"{name!r} is missing or wrong" for name, good in checks if not good)


def _are_domains(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(row, dict) and isinstance(row.get("domain"), str) for row in value)
        and all(_is_number(row.get(name)) for row in value for name in DOMAIN_FIGURES)
    )


def _is_number(value: Any, allow_none: bool = False) -> bool:
    if value is None:
        return allow_none
    return isinstance(value, int | float) and not isinstance(value, bool)


def _read_config(path: Path) -> dict[str, Any]:
    file = path / "config.yaml"
    if not file.exists():
        return {}
    try:
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{str(file)!r} is damaged; run again with --force") from error
    return config if isinstance(config, dict) else {}


def find_runs(paths: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """Return the runs in run directories and below other folders, and what was left out.

    A record below a folder that can't be shown is left out, with a sentence that says why; one
    that is named itself is refused.

    Raises:
        UserError: a path that holds no run.
    """
    runs: dict[Path, Run] = {}
    left_out: list[str] = []
    check_run_folders(paths)
    for path in paths:
        if (path / "summary.json").exists():
            runs[path.resolve()] = Run.load(path)
            continue
        before = len(runs)
        for file in sorted(path.rglob("summary.json")):
            if not _is_foreign(file):
                _load_or_leave(file.parent, runs, left_out)
        if len(runs) == before:
            raise no_run(path, left_out[0]) if left_out else no_run(path)
    return list(runs.values()), left_out


def _load_or_leave(path: Path, runs: dict[Path, Run], left_out: list[str]) -> None:
    try:
        runs[path.resolve()] = Run.load(path)
    except UserError as error:
        left_out.append(str(error))


def _is_foreign(file: Path) -> bool:
    """Return whether a ``summary.json`` is some other program's."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False  # perhaps a damaged one of ours: to be named
    return not isinstance(content, dict) or "schema" not in content
