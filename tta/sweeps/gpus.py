"""Which GPU each worker of a local sweep has, decided before any of them starts CUDA."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from tta.foundation.cores import core_count
from tta.foundation.devices import WORKSPACE, WORKSPACES
from tta.sweeps.grid import Cell

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""What CUDA goes by when it starts: numbers or names of GPUs, the only ones that there are."""


def usual_workers(cells: Iterable[Cell]) -> int:
    """Return how many processes suit a grid: one for each GPU where all its runs take one.

    More on one GPU take turns there, and each has a model and a context in its memory. Else there
    is one for each core.
    """
    devices = {cell.config.device for cell in cells}
    if devices == {"mps"}:
        return 1
    if all(name.startswith("cuda:") for name in devices):
        return len(devices)
    anywhere = devices <= {"auto", "cuda"} and has_cuda_build()
    return (len(visible_gpus()) if anywhere else 0) or core_count()


def has_cuda_build() -> bool:
    """Return whether the torch that is installed was built for CUDA; it is not imported."""
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        return False
    said = Path(found.origin).with_name("version.py").read_text(encoding="utf-8")
    return re.search(r"^cuda\b[^=]*=\s*['\"]", said, re.MULTILINE) is not None


def gpus_of_workers(cells: Iterable[Cell], workers: int) -> list[str | None]:
    """Return the value of :data:`VISIBLE` for each worker; None where it is left as it is.

    Every worker gets one GPU, in turn where they are fewer. Left alone are workers on a machine
    with fewer than two GPUs, or whose GPUs the user has restricted to fewer, and those of a grid
    that names a device by itself: ``cpu``, ``mps`` or ``cuda:N``.

    Args:
        cells: of the grid.
        workers: processes.
    """
    anywhere = all(cell.config.device in ("auto", "cuda") for cell in cells)
    there = visible_gpus() if anywhere else []
    if len(there) < 2:
        return [None] * workers
    return [there[number % len(there)] for number in range(workers)]


def visible_gpus() -> list[str]:
    """Return what CUDA would call the GPUs that this process may use, without starting CUDA."""
    given = os.environ.get(VISIBLE)
    if given is None:
        return [str(number) for number in range(count_gpus())]
    # What follows a number below 0 or an empty name does not count, as CUDA has it.
    names: list[str] = []
    for name in map(str.strip, given.split(",")):
        if not name or name.startswith("-"):
            break
        names.append(name)
    return names


def count_gpus() -> int:
    """Return how many NVIDIA GPUs the driver lists; 0 where there is none that says so."""
    command: Sequence[str] = ("nvidia-smi", "--list-gpus")
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return 0
    return sum(line.startswith("GPU ") for line in answer.stdout.splitlines())


def workspace_of(cells: Sequence[Cell]) -> dict[str, str]:
    """Return the variable that processes need from their start where a cell is deterministic.

    All cells of a sweep get it: a process runs several, and CUDA reads it once.
    """
    deterministic = any(cell.config.deterministic for cell in cells)
    return {WORKSPACE: os.environ.get(WORKSPACE, WORKSPACES[0])} if deterministic else {}
