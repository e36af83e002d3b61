"""The summary of a run: figures, cost and provenance as plain values."""

from __future__ import annotations

import hashlib
import math
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from tta.experiment.observing.recorder import PASS_COUNTERS
from tta.foundation.arithmetic import versions_of_cuda
from tta.foundation.backends import flags
from tta.foundation.version import __version__
from tta.foundation.waiting import waiting
from tta.tasks.metric import CALIBRATION
from tta.tasks.open_set_metrics import OPEN_SET_FIGURES
from tta.tasks.task import CLASSIFICATION, SEGMENTATION, Task
from tta.tasks.visits import errors_by_visit

DERIVED_COUNTERS = ("uplink_encoded_bytes",)
PACKAGES = ("torch", "torchvision", "timm", "numpy", "pandas")


def figures(
    domains: pd.DataFrame,
    counters: tuple[str, ...] = (),
    pooled: Mapping[str, float] | None = None,
    task: Task = CLASSIFICATION,
) -> dict[str, Any]:
    """Return the headline figures of a table of domains, as fractions.

    ``mean_error`` is the unweighted mean over visits to domains; ``pooled_error`` counts every
    sample alike. So is ``mean_ece`` the mean of the visits' calibration errors, and
    ``pooled_ece``, as given in ``pooled``, that of all samples together, where those of visits
    partly cancel.
    ``counters`` holds the sums of those columns over the stream, and of the uploads' file sizes
    where there are uploads; ``passes`` counts per image of the stream. A calibration figure is
    None where that of any domain is not finite: a mean over the others would praise a method
    whose outputs have diverged. ``visits`` holds the errors of :func:`errors_by_visit`, where
    domains come back.

    Of a stream with unknown images, errors and calibration are of the known ones. Visits that
    show none of these have no part in them, nor have visits without either kind in the figures
    of open-set recognition, means over visits too: that is the stream's, the same for all methods.

    Of segmentation, in place of errors, there are the figures of ``task``: ``mean_...`` over
    visits, and ``pooled_...`` of the stream's summed matrix.
    """
    samples = int(domains["samples"].sum())
    known = domains.get("known", domains["samples"])
    judged = domains[known > 0]
    counters = (*counters, *(name for name in DERIVED_COUNTERS if name in domains))
    totals = {name: int(domains[name].sum()) for name in counters}
    rows = _plain(domains)
    visits = errors_by_visit(rows, task.headline.name)
    rates = _means(domains, task) if task is SEGMENTATION else _rates(domains, judged, known)
    return {
        "samples": samples,
        **rates,
        **{f"pooled_{name}": _if_finite(value) for name, value in (pooled or {}).items()},
        **(_open_set(domains) if "known" in domains else {}),
        "counters": totals,
        **({"upload_fraction": totals["uploads"] / samples} if "uploads" in totals else {}),
        "passes": _passes_per_image(domains, samples),
        **({"visits": visits} if visits else {}),
        "domains": rows,
    }


def _rates(domains: pd.DataFrame, judged: pd.DataFrame, known: pd.Series) -> dict[str, Any]:
    return {
        "mean_error": _mean(judged["error"]),
        "mean_accuracy": _mean(judged["accuracy"]),
        "pooled_error": 1.0 - int(domains["correct"].sum()) / max(1, int(known.sum())),
        **{f"mean_{metric.name}": _mean(judged[metric.name]) for metric in CALIBRATION},
    }


def _means(domains: pd.DataFrame, task: Task) -> dict[str, Any]:
    """Return means over the visits that show a pixel which counts."""
    judged = domains[domains["pixels"] > 0]
    return {f"mean_{metric.name}": _mean(judged[metric.name]) for metric in task.metrics}


def _open_set(domains: pd.DataFrame) -> dict[str, Any]:
    """Return the figures of open-set recognition, and how many images and visits they are of."""
    known, unknown = domains["known"], domains["unknown"]
    shows_both = (known > 0) & (unknown > 0)
    figures = {
        figure.name: _mean(
            domains.loc[shows_both if figure.metric.of_unknown else known > 0, figure.metric.name]
        )
        for figure in OPEN_SET_FIGURES
    }
    return {
        **figures,
        "known_images": int(known.sum()),
        "unknown_images": int(unknown.sum()),
        "visits_left_out": int((~shows_both).sum()),
    }


def _mean(values: pd.Series) -> float | None:
    return _if_finite(float(values.mean(skipna=False)))


def _if_finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _plain(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows as plain values; None where a figure is not a finite number, as JSON has none."""
    known = frame.replace([math.inf, -math.inf], math.nan).notna()
    return frame.astype(object).where(known, None).to_dict(orient="records")


def _passes_per_image(domains: pd.DataFrame, samples: int) -> dict[str, float]:
    known = [name for name in PASS_COUNTERS if name in domains]
    return {name: int(domains[name].sum()) / samples for name in known}


def classes_digest(outputs: Sequence[int] | None) -> str | None:
    """Return a SHA-256 of which outputs of the model the classes are; None for all, in order."""
    if outputs is None:
        return None
    return hashlib.sha256(",".join(map(str, outputs)).encode()).hexdigest()


def environment(device: torch.device) -> dict[str, Any]:
    """Return what the figures were made with."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "tta": __version__,
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
        "device": device.type,
        "device_name": name,
        **(_of_gpu(device) if device.type == "cuda" else {}),
        "threads": torch.get_num_threads(),
        "waiting": waiting(),
        "git_revision": _git_revision(),
    }


def _of_gpu(device: torch.device) -> dict[str, Any]:
    return {
        "device_index": device.index,
        **versions_of_cuda(),
        "driver": _driver(),
        **flags(),
    }


def _driver() -> str | None:
    """Return the version of NVIDIA's driver, where its module says it."""
    try:
        text = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(r"\b\d{3,}\.[\d.]*\d", text)
    return found[0] if found else None


def _git_revision() -> str | None:
    """Return the revision of the checkout that this package runs from, if it is one."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
