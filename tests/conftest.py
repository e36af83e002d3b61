"""What tests share: cores with each other, and that nobody reads them on a terminal."""

from __future__ import annotations

import os

# Workers and the programs that they start share the cores; read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import pytest
import torch


def pytest_configure() -> None:
    os.environ.pop("COLUMNS", None)  # with it, tables are folded as on a terminal
    # Only what is set before CUDA starts lets deterministic runs stand beside others.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))


@pytest.fixture
def one_thread():
    """As the authors' code ran: sums of more threads are rounded in another order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
