"""Methods of one's own that diverge, in a file of one's own."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from tta.methods import Method, param


class Diverging(Method):
    """The source model, but after some batches half of its outputs are ``value``."""

    name = "diverging"
    state = ("steps",)

    @dataclass(frozen=True)
    class Params:
        after: int = param(2, "batches, since the latest reset, with outputs that are numbers")
        value: str = param("nan", "of the first half of later batches")

    def configure(self):
        self.steps = torch.zeros((), dtype=torch.int64)
        self.calls = 0

    @torch.no_grad()
    def step(self, images):
        self.calls += 1
        if self.calls == int(os.environ.get("TTA_TEST_INTERRUPT", "0")):
            raise KeyboardInterrupt
        outputs = self.backbone(images)
        if self.steps >= self.params.after:
            outputs[: len(images) // 2] = float(self.params.value)
        self.steps += 1
        return outputs


class BrokenWeights(Method):
    """Leaves weights that are no numbers behind, after outputs that are."""

    name = "broken_weights"

    @torch.no_grad()
    def step(self, images):
        outputs = self.backbone(images).clone()
        next(self.backbone.parameters()).fill_(torch.nan)
        return outputs
