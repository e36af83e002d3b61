"""A method for ``tta run`` that ends the process at its first batch."""

from __future__ import annotations

import os
from typing import NoReturn

from torch import Tensor

from tta.methods import Method


class FirstBatch(Method):
    """Ends when there is something to do."""

    name = "first_batch"

    def step(self, images: Tensor) -> NoReturn:
        """End the process with status 0."""
        os._exit(0)
