"""How many images go forward and backward through a model and its clones."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import Tensor


class Passes:
    """Counts kept on the host, from shapes alone: nothing waits for the device.

    Copies of a model (teachers, snapshots) share the counter of the model they were copied from.
    """

    def __init__(self) -> None:
        self.forward = self.backward = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> Passes:
        return self

    def note(self, features: Tensor) -> None:
        """Count a forward that gave ``features`` ``[B, D]``, and each backward through it."""
        images = len(features)
        self.forward += images
        if features.requires_grad:
            features.register_hook(lambda _: self._note_backward(images))

    def _note_backward(self, images: int) -> None:
        self.backward += images

    def take(self) -> tuple[int, int]:
        """Return images forward and backward since the last call, and start anew."""
        taken = self.forward, self.backward
        self.forward = self.backward = 0
        return taken

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out what goes through meanwhile."""
        kept = self.forward, self.backward
        try:
            yield
        finally:
            self.forward, self.backward = kept
