"""Runs below folders; a record that can't be shown is left out by name, and the others go on."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from tta.foundation.errors import UserError
from tta.reporting.records.run_folders import check_run_folders, no_run
from tta.reporting.records.runs import Run


def find_runs(paths: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """Return the runs in run directories and below other folders, and what was left out.

    What can't be shown is left out with a line ``PATH: reason; cure``, and so is all but one of
    the copies of a run.

    Raises:
        UserError: a path that is not there or holds no record, or nothing that can be shown.
    """
    runs: dict[str, Run] = {}
    left_out: list[str] = []
    for path in paths:
        _find(path, runs, left_out)
    kept, copies = _without_copies(list(runs.values()))
    left_out = list(dict.fromkeys(left_out + copies))
    if not kept:
        raise UserError(f"no run can be shown: {left_out[0]}")
    return kept, left_out


def _find(path: Path, runs: dict[str, Run], left_out: list[str]) -> None:
    check_run_folders([path])
    before = len(runs) + len(left_out)
    for folder in _folders(path, left_out):
        try:
            run = Run.load(folder)
            run.check()
            runs.setdefault(os.path.realpath(folder), run)
        except UserError as error:
            left_out.append(f"{folder}: {error}")
    if len(runs) + len(left_out) == before and not _known(path, runs):
        raise no_run(path)


def _known(path: Path, runs: dict[str, Run]) -> bool:
    """Return whether the runs below a path were found before, below another."""
    root = os.path.realpath(path)
    return any(folder == root or folder.startswith(root + os.sep) for folder in runs)


def _folders(path: Path, left_out: list[str]) -> Iterator[Path]:
    """Yield the run directories at or below a path; folders that can't be read are named."""
    if _holds_record(path):
        yield path
        return

    def unreadable(error: OSError) -> None:
        left_out.append(f"{error.filename}: it cannot be read ({error.strerror}); check it")

    for folder, inner, files in os.walk(path, onerror=unreadable):
        inner.sort()
        if "summary.json" in files and not _is_foreign(Path(folder, "summary.json")):
            yield Path(folder)


def _holds_record(path: Path) -> bool:
    return os.path.exists(path / "summary.json")


def _is_foreign(file: Path) -> bool:
    """Return whether a ``summary.json`` is some other program's, or no file at all."""
    if file.exists() and not file.is_file():
        return True
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False  # perhaps a damaged one of ours: to be named
    return not isinstance(content, dict) or "schema" not in content


def _without_copies(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """Return one run of each fingerprint, a finished one where there is one, and lines on others.

    A fingerprint stands for all that decides figures, so that two records with the same one are
    one run twice: counted twice, it would pass for two seeds.
    """
    kept: dict[str, Run] = {}
    for run in sorted(runs, key=lambda run: not run.finished):
        kept.setdefault(_name(run), run)
    left_out = []
    for run in runs:
        other = kept[_name(run)]
        if run is not other:
            left_out.append(f"{run.path}: {_why(run, other)} {str(other.path)!r}; remove one")
    return [run for run in runs if kept[_name(run)] is run], left_out


def _name(run: Run) -> str:
    return run.summary["fingerprint"][:12]  # its length, and what labels show


def _why(run: Run, other: Run) -> str:
    if run.finished != other.finished:
        return "it is an unfinished copy of"
    same = run.summary["domains"] == other.summary["domains"]
    return "it is a copy of" if same else "its figures are not those of the same run in"
