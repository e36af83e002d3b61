"""Cells on a Ray cluster: this machine's, or a large one's."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tta.config import RunConfig
from tta.foundation.errors import UserError
from tta.foundation.files import write_atomically
from tta.reporting.records.run_directory import RunDirectory
from tta.sweeps.cells import (
    Finished,
    Outcome,
    fault_of,
    finished_below,
    one_line,
    run_cell,
    run_cell_apart,
)
from tta.sweeps.gpus import workspace_of
from tta.sweeps.grid import Cell, distinct, refuse_impossible
from tta.tasks.task import headline_in_words

RETRIES = 3
"""How often a cell is started again after its worker was lost."""


@dataclass(frozen=True)
class Cluster:
    """Where cells go and what each takes.

    Attributes:
        address: of the cluster; None for one of this machine, started here.
        cpus: cores per cell, and threads of its arithmetic.
        gpus: GPUs per cell; fractions share one. None for one to each cell whose device is
            ``auto`` or ``cuda``, where the cluster has any: Ray hides the others from a cell.
        shared: whether every machine sees the output folder under the same path; otherwise run
            directories are sent here when they are finished.
    """

    address: str | None = None
    cpus: float = 1.0
    gpus: float | None = None
    shared: bool = False


def run_on_ray(cells: Sequence[Cell], cluster: Cluster) -> Iterator[Outcome]:
    """Yield the outcome of every cell as it ends; one that fails does not stop the others.

    A cell whose worker is lost starts again elsewhere: from its latest checkpoint where the
    output folder is shared, from its beginning where not.

    Raises:
        UserError: Ray is not installed, there is no such cluster, or a cell cannot run: then none
            was run.
    """
    for cell in cells:
        if cell.config.device.startswith("cuda:"):
            raise UserError(
                f"--executor ray chooses the GPU of each cell, and {cell.name} asks for "
                f"{cell.config.device}: write device: cuda"
            )
    ray = import_ray()
    started = not ray.is_initialized()
    if started:
        _connect(ray, cluster.address)
    try:
        with_gpus = ray.cluster_resources().get("GPU", 0) >= 1
        _check(ray, distinct(cells), cluster, with_gpus)
        pending = {
            future: cell
            for cells_of_output in _by_output(cells)
            for future, cell in _submit(ray, cells_of_output, cluster, with_gpus)
        }
        while pending:
            (ready,), _ = ray.wait(list(pending))
            cell = pending.pop(ready)
            try:
                outcome = Outcome(cell, _gathered(cell, ray.get(ready)))
            except ray.exceptions.RayError as error:
                outcome = Outcome(cell, None, _reason(error), str(error))
            except (OSError, UserError) as error:  # here: the disk is full, or another one writes
                outcome = Outcome(cell, None, one_line(error))
            yield outcome
    finally:
        if started:
            ray.shutdown()


def import_ray() -> Any:
    """Return the package.

    Raises:
        UserError: it is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise UserError(
            "--executor ray needs Ray; install it with pip install 'tta-harness[ray]', or use "
            "--executor local"
        ) from error
    return ray


def _connect(ray: Any, address: str | None) -> None:
    own = {} if address else {"include_dashboard": False}
    try:
        ray.init(address=address, log_to_driver=False, **own)
    except (ConnectionError, ValueError) as error:
        raise UserError(
            f"no Ray cluster answers at {address!r} ({one_line(error)}); check --address"
        ) from error


def gpus_of(config: RunConfig, cluster: Cluster, with_gpus: bool) -> float:
    """Return how many GPUs a cell takes.

    Args:
        config: of the cell.
        cluster: what the user wants.
        with_gpus: whether the cluster has any.
    """
    if cluster.gpus is not None:
        return cluster.gpus
    return float(with_gpus and config.device in ("auto", "cuda"))


def _check(ray: Any, kinds: Sequence[Cell], cluster: Cluster, with_gpus: bool) -> None:
    task = ray.remote(num_cpus=cluster.cpus, **_environment(kinds))(fault_of)
    faults = []
    futures = [
        task.options(num_gpus=gpus_of(cell.config, cluster, with_gpus)).remote(cell.config)
        for cell in kinds
    ]
    for future in futures:
        try:
            faults.append(ray.get(future))
        except ray.exceptions.RayError:  # the run itself will say what it is
            faults.append("")
    refuse_impossible(kinds, faults)


def _environment(cells: Sequence[Cell]) -> dict[str, Any]:
    variables = workspace_of(cells)
    return {"runtime_env": {"env_vars": variables}} if variables else {}


def _by_output(cells: Sequence[Cell]) -> list[list[Cell]]:
    outputs = dict.fromkeys(cell.config.output for cell in cells)
    return [[cell for cell in cells if cell.config.output == output] for output in outputs]


def _submit(
    ray: Any, cells: Sequence[Cell], cluster: Cluster, with_gpus: bool
) -> Iterator[tuple[Any, Cell]]:
    """Yield a future and its cell, for cells of one output folder."""
    limits = {"num_cpus": cluster.cpus, "max_retries": RETRIES}
    resources = ray.remote(**limits, **_environment(cells))
    task = resources(_on_shared_folder if cluster.shared else run_cell_apart)
    output = cells[0].config.output
    done = None if cluster.shared else ray.put(frozenset(finished_below(output)))
    for cell in cells:
        on_gpus = task.options(num_gpus=gpus_of(cell.config, cluster, with_gpus))
        if done is None:
            shared = dataclasses.replace(cell.config, output=str(Path(output).resolve()))
            yield on_gpus.remote(shared), cell
        else:
            yield on_gpus.remote(cell.config, done), cell


def _on_shared_folder(config: Any) -> tuple[Finished, dict[str, bytes]]:
    return run_cell(config), {}


def _gathered(cell: Cell, answer: tuple[Finished | str, dict[str, bytes]]) -> Finished:
    """Write a run directory that was sent here, ``done`` last."""
    finished, files = answer
    output = Path(cell.config.output)
    if isinstance(finished, str):
        summary = RunDirectory.read_finished(output / finished)
        collapsed, nonfinite = (
            summary.get(mark) is not None for mark in ("collapsed_at_batch", "nonfinite_at_batch")
        )
        warned = bool(summary.get("warnings"))
        return Finished(finished, True, headline_in_words(summary), collapsed, nonfinite, warned)
    if files:
        with RunDirectory(output / finished.path) as directory:
            directory.start_over()
            for name in sorted(files, key=lambda name: name == "done"):
                write_atomically(directory.path / name, files[name])
    return finished


def _reason(error: Exception) -> str:
    cause = getattr(error, "cause", None)
    if isinstance(cause, Exception):
        return one_line(cause)
    return f"its worker was lost more than {RETRIES} times ({type(error).__name__})"
