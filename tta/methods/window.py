"""Single-image streams: adapt once per window, predict for every image."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tta.foundation.cache import Preparation
from tta.methods.base import Method
from tta.methods.state import capture, restore, unpark
from tta.ops.norm.batch_norm import batch_norm_layers
from tta.source.source_data import SourceData


class SlidingWindow:
    """Feeds a method with windows of the latest ``length`` images of a batch-size-1 stream.

    An arriving image takes the place of the oldest. Each time the window has been renewed, the
    method adapts to it; in between it predicts, on the whole window where batch statistics
    need it and on the single image otherwise (RMT, CVPR 2023, single-sample setting).

    Args:
        method: the method to feed.
        length: images per window, at least 2.
    """

    def __init__(self, method: Method, length: int) -> None:
        self.method = method
        self.length = length
        self.buffer: Tensor | None = None
        self.pointer = 0
        self._has_batch_norm = any(True for _ in batch_norm_layers(method.backbone))
        self.name, self.title, self.paper = method.name, method.title, method.paper
        self.predicts, self.outputs = method.predicts, method.outputs
        self.counters = method.counters

    def start(self, source: SourceData | None = None, cache: Preparation | None = None) -> None:
        """Prepare the method; see :meth:`Method.start`."""
        self.method.start(source, cache)

    def step(self, images: Tensor) -> Tensor:
        """Return outputs ``[1, C]`` for one image ``[1, 3, H, W]``."""
        row = self.pointer
        buffer = self._insert(images)
        self.pointer = (row + 1) % self.length
        if row == self.length - 1:
            return self.method.step(buffer)[row : row + 1]
        if self._has_batch_norm:
            return self.method.predict(buffer)[row : row + 1]
        return self.method.predict(images)

    def _insert(self, image: Tensor) -> Tensor:
        if self.buffer is None:
            self.buffer = image.clone()
        elif len(self.buffer) < self.length:
            self.buffer = torch.cat([self.buffer, image])
        else:
            self.buffer[self.pointer] = image[0]
        return self.buffer

    def count(self) -> Tensor | None:
        """Return the cost of the window's update, charged to the image that completed it."""
        counted = self.method.count()
        if counted is None:
            return None
        return counted.sum(1, keepdim=True) * float(self.pointer == 0)

    def predict(self, images: Tensor) -> Tensor:
        """See :meth:`Method.predict`."""
        return self.method.predict(images)

    def score(self, outputs: Tensor) -> Tensor:
        """See :meth:`Method.score`."""
        return self.method.score(outputs)

    def reset(self) -> None:
        """Forget the window and reset the method."""
        self.buffer, self.pointer = None, 0
        self.method.reset()

    def state_dict(self) -> dict[str, Any]:
        """Return the window and the method's state."""
        window = {"buffer": capture(self.buffer), "pointer": self.pointer}
        return {**window, "method": self.method.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state_dict`."""
        device = self.method.backbone.mean.device
        self.buffer = restore(self.buffer, unpark(state["buffer"], device))
        self.pointer = state["pointer"]
        self.method.load_state_dict(state["method"])
