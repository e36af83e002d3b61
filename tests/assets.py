"""Real data and checkpoints that are not part of the project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def asset(*parts: str) -> Path:
    """Return a file below $TTA_TEST_ASSETS, or skip the test with the reason."""
    root = os.environ.get("TTA_TEST_ASSETS")
    if not root:
        pytest.skip("TTA_TEST_ASSETS is not set: it names the folder of real data and checkpoints")
    path = Path(root, *parts)
    if not path.exists():
        pytest.skip(f"{path} does not exist below TTA_TEST_ASSETS")
    return path
