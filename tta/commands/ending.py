"""What is printed around runs: what was understood before them, and how they ended."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tta.commands.cli import EXIT_NOT_FINITE
from tta.foundation.errors import UserError
from tta.foundation.stops import Stopped
from tta.foundation.text import printable

if TYPE_CHECKING:
    from tta.experiment.built import Experiment


def show(summary: dict[str, Any], metric: str, as_json: bool, width: int | None) -> int:
    """Print a summary, and return the exit status that it calls for."""
    from tta.reporting.run_report import run_report

    print(json.dumps(summary, indent=2) if as_json else run_report(summary, metric, width))
    return say_what_is_odd(summary, as_json)


def say_what_is_odd(summary: dict[str, Any], as_json: bool) -> int:
    """Print what sets a run apart from a sound one, and return the exit status."""
    from tta.tasks.finite import in_words

    for warning in summary.get("warnings", ()) if summary.get("reused") else ():
        print(printable(f"warning: {warning}"), file=sys.stderr)
    if summary.get("collapsed_at_batch") is not None and not as_json:
        print(
            f"collapsed at batch {summary['collapsed_at_batch']}: from there on few classes are "
            "predicted, many were shown; see tta/experiment/observing/collapse.py"
        )
    if not_finite := in_words(summary):
        print(printable(not_finite), file=sys.stderr if as_json else sys.stdout)
    return 0 if summary.get("nonfinite_at_batch") is None else EXIT_NOT_FINITE


def print_notes(experiments: Sequence[Experiment], quiet: bool) -> None:
    """Print what was understood, and whether there is nothing to resume."""
    from tta.experiment.saving.unfinished import nothing_to_resume
    from tta.foundation.notes import lines
    from tta.reporting.records.run_directory import RunDirectory

    notes: list[str] = []
    for experiment in experiments:
        notes += [] if quiet else lines(experiment.understood)
        path = experiment.path()
        if experiment.config.resume and not RunDirectory.is_started(path):
            notes += nothing_to_resume(path, experiment.resolved())
    for line in dict.fromkeys(notes):
        print(printable(line), file=sys.stderr)


def stopped(stop: KeyboardInterrupt, experiments: Sequence[Experiment]) -> int:
    """Say what was kept and how to go on, and return the exit status."""
    stop = stop if isinstance(stop, Stopped) else Stopped()
    said = [f"stopped by {stop.name} before the stream began; nothing was to be saved"]
    if experiments:  # else what follows may be half imported
        from tta.experiment.saving.unfinished import farewell

        said = [farewell(stop.name, one.path(), len(one.plan)) for one in experiments]
    for line in said:
        print(f"\n{line}", file=sys.stderr)
    return stop.status


def in_user_words(error: Exception) -> Exception:
    """Return what ended a run, with the cure where it is known."""
    if not isinstance(error, MemoryError | RuntimeError) or not _out_of_memory(error):
        return error
    return UserError("out of memory; use a smaller --batch-size or backbone, or --precision bf16")


def _out_of_memory(error: MemoryError | RuntimeError) -> bool:
    import torch

    # On a CPU, torch has no class of its own for it.
    kinds = (MemoryError, torch.cuda.OutOfMemoryError)
    words = ("can't allocate memory", "out of memory")
    return isinstance(error, kinds) or any(word in str(error) for word in words)
