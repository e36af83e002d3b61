"""Cells on this machine: one process per worker, replaced where it dies."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import (
    CancelledError,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    as_completed,
)
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Any, TypeVar

from tta.config import RunConfig
from tta.foundation.cores import core_count, take_share
from tta.foundation.orphans import GRACE, end_with_parent, is_orphan
from tta.foundation.stops import Stopped
from tta.sweeps.cells import Failed, Finished, Outcome, fault_of, one_line, outcome_of, run_cells
from tta.sweeps.gpus import VISIBLE, gpus_of_workers, workspace_of
from tta.sweeps.grid import Cell, distinct, groups, refuse_impossible

Result = TypeVar("Result")
Work = TypeVar("Work")

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def run_locally(cells: Sequence[Cell], workers: int, shared: bool = True) -> Iterator[Outcome]:
    """Yield the outcome of every cell as it ends; one that fails does not stop the others.

    Cells that share a stream go together; where their process is killed, each goes on by itself.

    Where it is ended before, by a signal say, the runs that are under way save a checkpoint after
    their batch, and no process is left; a second signal kills them.

    Args:
        cells: what to run.
        workers: processes; the cores are divided among them, and so are GPUs, see
            :mod:`tta.sweeps.gpus`, and the memory for models.
        shared: let cells share streams.

    Raises:
        UserError: a cell cannot run; none was run.
    """
    threads = max(1, core_count() // workers)
    variables = workspace_of(cells)
    everyone = [_Worker(threads, gpu, variables) for gpu in gpus_of_workers(cells, workers)]
    idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
    for worker in everyone:
        idle.put(worker)
    pool = ThreadPoolExecutor(workers)
    is_complete = False
    try:
        kinds = distinct(cells)
        refuse_impossible(kinds, list(pool.map(partial(_lent, idle, _Worker.check), kinds)))
        together = groups(cells, workers) if shared else [[cell] for cell in cells]
        run = partial(_Worker.run, share=1 / workers)
        futures = [pool.submit(_lent, idle, run, group) for group in together]
        for future in as_completed(futures):
            yield from future.result()
        is_complete = True
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        if not is_complete:
            _stop(everyone, pool)
        for worker in everyone:
            worker.close()


def _stop(everyone: Sequence[_Worker], pool: ThreadPoolExecutor) -> None:
    print("\nstopping when batches are done and saved; once more to kill", file=sys.stderr)
    have_ended = False
    try:
        for worker in everyone:
            worker.stop()
        pool.shutdown()
        have_ended = True
    finally:
        if not have_ended:
            for worker in everyone:
                worker.send(signal.SIGKILL)


def _lent(
    idle: queue.SimpleQueue[_Worker], act: Callable[[_Worker, Work], Result], work: Work
) -> Result:
    """Return what one of the idle workers makes of a cell, or of some."""
    worker = idle.get()
    try:
        return act(worker, work)
    finally:
        idle.put(worker)


class _Worker:
    """A process that runs one cell after another: packages are imported once.

    Args:
        threads: of its arithmetic.
        gpu: the only one that it sees; None for all.
        variables: further ones of its environment.
    """

    def __init__(
        self, threads: int, gpu: str | None = None, variables: Mapping[str, str] | None = None
    ) -> None:
        self.threads = threads
        self.variables = dict(variables or {}) | ({} if gpu is None else {VISIBLE: gpu})
        self._is_stopped = False
        self._pid: Future[int] | None = None
        self._process = self._new()

    def _new(self) -> ProcessPoolExecutor:
        spawn = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(1, spawn, _begin, (self.threads, self.variables, _usual_start()))

    def check(self, cell: Cell) -> str:
        """Return why the cell cannot run; empty where that is not known."""
        end = self._end_of(fault_of, cell.config)
        return end if isinstance(end, str) else ""

    def run(self, cells: Sequence[Cell], share: float) -> list[Outcome]:
        """Run cells that share a stream.

        Args:
            cells: to run.
            share: of the memory for models, which is this process's.
        """
        end = self._end_of(_run_cells, [cell.config for cell in cells], share)
        if isinstance(end, list):
            return [outcome_of(cell, one) for cell, one in zip(cells, end, strict=True)]
        if self._is_stopped or isinstance(end, Stopped):
            return [Outcome(cell, None, "stopped") for cell in cells]
        if isinstance(end, BrokenProcessPool):
            self._process, self._pid = self._new(), None
        if len(cells) > 1:  # it need not be the fault of all; each goes on from its checkpoint
            return [outcome for cell in cells for outcome in self.run([cell], share)]
        return [_failed(cells[0], end)]

    def _end_of(self, act: Callable[..., Result], *given: Any) -> Result | BaseException:
        """Return what the process returns or raises."""
        try:
            try:
                future = self._submit(act, *given)
            except BrokenProcessPool:  # killed between two cells
                self._process, self._pid = self._new(), None
                future = self._submit(act, *given)
            error = future.exception()
        except (CancelledError, RuntimeError) as ended:  # the latter where none are taken any more
            if not self._is_stopped:
                raise
            return ended
        return future.result() if error is None else error

    def _submit(self, act: Callable[..., Result], *given: Any) -> Future[Result]:
        if self._pid is None:
            self._pid = self._process.submit(os.getpid)
        return self._process.submit(act, *given)

    def stop(self) -> None:
        """Let the process save what it runs, and end."""
        self._is_stopped = True
        self._process.shutdown(wait=False, cancel_futures=True)
        self.send(signal.SIGTERM)

    def send(self, number: int) -> None:
        """Send the process a signal; one that has not begun to work has nothing to save."""
        if self._pid is None or not self._pid.done() or self._pid.cancelled():
            return
        if self._pid.exception() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid.result(), number)

    def close(self) -> None:
        self._process.shutdown()


def _usual_start() -> str:
    """Return how processes are started here where nobody says how; nothing is fixed by asking."""
    chosen = multiprocessing.get_start_method(allow_none=True)
    return chosen or multiprocessing.get_all_start_methods()[0]


def _begin(threads: int, variables: Mapping[str, str], start: str) -> None:
    # Else it would pass on how it was started itself, and every loading process import torch anew.
    multiprocessing.set_start_method(start, force=True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says when to stop, by SIGTERM
    end_with_parent(GRACE)
    take_share(threads)
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)) | dict(variables))
    import torch  # reads the variables now, unless the caller's main module has loaded it before

    torch.set_num_threads(threads)


def _failed(cell: Cell, end: BaseException) -> Outcome:
    if isinstance(end, BrokenProcessPool):
        return Outcome(cell, None, "its process was killed; out of memory?")
    return Outcome(cell, None, one_line(end), "".join(traceback.format_exception(end)))


def _run_cells(configs: Sequence[RunConfig], share: float) -> list[Finished | Failed]:
    try:
        return run_cells(configs, share)
    finally:
        if is_orphan():
            os._exit(1)
