"""What is said of unfinished runs: how to go on with one, and which others are alike."""

from __future__ import annotations

import glob
import shlex
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tta.config import RunConfig
from tta.experiment.saving.state_file import position_of
from tta.foundation.errors import UserError
from tta.foundation.unlike import unlike
from tta.foundation.yaml_files import parse_yaml
from tta.reporting.records.run_directory import RunDirectory

MOST_SHOWN = 5


def resume_command(path: Path) -> str:
    """Return the command line that goes on with the run in ``path``."""
    return f"python -m tta.run --config {shlex.quote(str(path / RunDirectory.CONFIG))} --resume"


def farewell(name: str, path: Path, images: int) -> str:
    """Return what is said when a run was stopped: what was kept, and how to go on.

    Args:
        name: what stopped it, such as ``Ctrl-C``.
        path: the run directory.
        images: length of the stream.
    """
    if RunDirectory.is_done(path):
        return f"stopped by {name}; the run had just finished: its record is {path}"
    if (path / "state.pt").is_file():
        return (
            f"stopped by {name}; a checkpoint holds {_place(path)} of {images} images, to go on:\n"
            f"{resume_command(path)}"
        )
    if (path / "summary.json").is_file():
        return (
            f"stopped by {name}; no checkpoint was saved, and the run would start at its beginning "
            f"again; what was seen is recorded in {path}"
        )
    return f"stopped by {name} before the stream began; nothing was to be saved"


def _place(path: Path) -> str:
    position = position_of(path / "state.pt")
    return "an unknown part" if position is None else f"the first {position}"


def nothing_to_resume(path: Path, config: Mapping[str, Any]) -> list[str]:
    """Return the lines that say so, and name unfinished runs that look alike.

    Args:
        path: the run directory, without a checkpoint.
        config: resolved options of the run.
    """
    lines = [f"--resume: {str(path)!r} has no checkpoint; the run starts at its beginning"]
    for other in _alike(path)[:MOST_SHOWN]:
        unlike = list(_differences(other, config)) or ["the same options; other data or code"]
        lines.append(f"unfinished, and alike ({', '.join(unlike)}): {resume_command(other)}")
    return lines


def _alike(path: Path) -> list[Path]:
    """Return unfinished runs of the same method, data set and scenario, the latest first."""
    states = path.parents[2].glob(f"*/{glob.escape(path.parent.name)}/*/state.pt")
    others = [state for state in states if state.parent != path]
    latest = sorted(others, key=lambda state: state.stat().st_mtime, reverse=True)
    return [state.parent for state in latest]


def _differences(path: Path, config: Mapping[str, Any]) -> Iterator[str]:
    try:
        text = (path / RunDirectory.CONFIG).read_text(encoding="utf-8")
        other = parse_yaml(text, RunDirectory.CONFIG)
    except (OSError, ValueError, UserError):
        other = None
    if not isinstance(other, dict):
        yield "its options cannot be read"
        return
    for name, values in sorted(unlike([_flat(other), _flat(config)]).items()):
        yield f"{name} {', here '.join(textwrap.shorten(str(value), 60) for value in values)}"


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that can change a figure, each hyper-parameter by itself."""
    flat = {k: v for k, v in config.items() if k not in (*RunConfig.UNRECORDED, "preset", "set")}
    settings = config.get("set")
    flat.update({f"set.{k}": v for k, v in settings.items()} if isinstance(settings, dict) else {})
    return flat
