"""RDumb: ETA, reset at regular intervals."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from tta.methods.eta import Eta
from tta.methods.params import param


class RDumb(Eta):
    """Forgets everything it has learned every ``reset_interval`` batches.

    Every batch counts, also one from which nothing is selected (Press et al., NeurIPS 2023).
    """

    name = "rdumb"
    paper = "Press et al., RDumb: a simple approach that questions our progress, NeurIPS 2023"
    state = (*Eta.state, "steps")

    @dataclass(frozen=True)
    class Params(Eta.Params):
        """Hyper-parameters; the defaults are those for CIFAR-10."""

        reset_interval: int = param(1000, "batches between two resets", unit="batches", minimum=1)

    def configure(self) -> None:
        super().configure()
        self.steps = 0

    def step(self, images: Tensor) -> Tensor:
        if self.steps == self.params.reset_interval:
            self.reset()
        self.steps += 1
        return super().step(images)
