"""Cells on a Ray cluster: this machine's, or a large one's."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tta.config import RunConfig
from tta.foundation.cores import core_count
from tta.foundation.errors import UserError
from tta.foundation.files import write_atomically
from tta.reporting.records.run_directory import RunDirectory
from tta.sweeps.cells import (
    Failed,
    Finished,
    Outcome,
    fault_of,
    finished_below,
    one_line,
    outcome_of,
    run_cell_apart,
    run_cells,
)
from tta.sweeps.gpus import workspace_of
from tta.sweeps.grid import Cell, distinct, groups, refuse_impossible
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


def run_on_ray(cells: Sequence[Cell], cluster: Cluster, shared: bool = True) -> Iterator[Outcome]:
    """Yield the outcome of every cell as it ends; one that fails does not stop the others.

    A cell whose worker is lost starts again elsewhere: from its latest checkpoint where the
    output folder is shared, from its beginning where not. Cells share streams only in the former
    case, as more would be lost in the latter; where workers are lost too often, each goes on by
    itself.

    Args:
        cells: what to run.
        cluster: where, and what each takes.
        shared: let cells share streams.

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
        submit = _submitter(ray, cells, cluster, with_gpus)
        workers = max(1, int(ray.cluster_resources().get("CPU", 1) // max(cluster.cpus, 1)))
        sharing = shared and cluster.shared
        together = groups(cells, workers) if sharing else [[cell] for cell in cells]
        pending = {submit(group): group for group in together}
        while pending:
            (ready,), _ = ray.wait(list(pending))
            group = pending.pop(ready)
            try:
                answers = ray.get(ready)
            except ray.exceptions.RayError as error:
                if len(group) > 1:  # it need not be the fault of all
                    pending |= {submit([cell]): [cell] for cell in group}
                else:
                    yield Outcome(group[0], None, _reason(error), str(error))
            else:
                found = answers if cluster.shared else [answers]
                yield from map(_gathered_outcome, group, found)
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


def _submitter(
    ray: Any, cells: Sequence[Cell], cluster: Cluster, with_gpus: bool
) -> Callable[[Sequence[Cell]], Any]:
    """Return what sends a group of cells, of one output folder, and returns its future."""
    limits = {"num_cpus": cluster.cpus, "max_retries": RETRIES}
    resources = ray.remote(**limits, **_environment(cells))
    task = resources(_on_shared_folder if cluster.shared else run_cell_apart)
    outputs = {} if cluster.shared else dict.fromkeys(cell.config.output for cell in cells)
    done = {output: ray.put(frozenset(finished_below(output))) for output in outputs}

    def submit(group: Sequence[Cell]) -> Any:
        config = group[0].config
        on_gpus = task.options(num_gpus=gpus_of(config, cluster, with_gpus))
        if not cluster.shared:
            return on_gpus.remote(config, done[config.output])
        output = str(Path(config.output).resolve())
        configs = [dataclasses.replace(cell.config, output=output) for cell in group]
        return on_gpus.remote(configs, cluster.cpus)

    return submit


Answer = tuple[Finished | Failed | str, dict[str, bytes]]


def _on_shared_folder(configs: Sequence[RunConfig], cpus: float) -> list[Answer]:
    share = min(1.0, max(cpus, 1.0) / core_count())
    return [(left, {}) for left in run_cells(configs, share)]


def _gathered_outcome(cell: Cell, answer: Answer) -> Outcome:
    left, files = answer
    if isinstance(left, Failed):
        return outcome_of(cell, left)
    try:
        return Outcome(cell, _gathered(cell, (left, files)))
    except (OSError, UserError) as error:  # here: the disk is full, or another one writes
        return Outcome(cell, None, one_line(error))


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
