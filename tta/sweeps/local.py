"""Cells on this machine: one process per worker, replaced where it dies."""

from __future__ import annotations

import multiprocessing
import os
import queue
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

from tta.cores import core_count
from tta.sweeps.cells import Outcome, one_line, run_cell
from tta.sweeps.grid import Cell

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def run_locally(cells: Sequence[Cell], workers: int) -> Iterator[Outcome]:
    """Yield the outcome of every cell as it ends; one that fails does not stop the others.

    Args:
        cells: what to run.
        workers: processes; the cores are divided among them.
    """
    threads = max(1, core_count() // workers)
    idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
    pool = ThreadPoolExecutor(workers)
    for _ in range(workers):
        idle.put(_Worker(threads))
    try:
        futures = [pool.submit(_run, idle, cell) for cell in cells]
        for future in as_completed(futures):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)
        for _ in range(workers):
            idle.get().close()


def _run(idle: queue.SimpleQueue[_Worker], cell: Cell) -> Outcome:
    worker = idle.get()
    try:
        return worker.run(cell)
    finally:
        idle.put(worker)


class _Worker:
    """A process that runs one cell after another: packages are imported once."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._start()

    def _start(self) -> None:
        self._process = ProcessPoolExecutor(
            1, multiprocessing.get_context("spawn"), _use_threads, (self.threads,)
        )

    def run(self, cell: Cell) -> Outcome:
        try:
            future = self._process.submit(run_cell, cell.config)
        except BrokenProcessPool:  # killed between two cells
            self._start()
            future = self._process.submit(run_cell, cell.config)
        error = future.exception()
        if isinstance(error, BrokenProcessPool):
            self._start()
            return Outcome(cell, None, "its process was killed; out of memory?")
        if error is not None:
            details = "".join(traceback.format_exception(error))
            return Outcome(cell, None, one_line(error), details)
        return Outcome(cell, future.result())

    def close(self) -> None:
        self._process.shutdown()


def _use_threads(threads: int) -> None:
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    import torch  # reads the variables now, unless the caller's main module has loaded it before

    torch.set_num_threads(threads)
