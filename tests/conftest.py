"""What tests share: cores with each other, and that nobody reads them on a terminal."""

from __future__ import annotations

import os

import torch


def pytest_configure() -> None:
    os.environ.pop("COLUMNS", None)  # with it, tables are folded as on a terminal
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))
