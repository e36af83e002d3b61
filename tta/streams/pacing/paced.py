"""Any method under a protocol that lets it adapt to some batches only."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tta.foundation.cache import Preparation
from tta.foundation.from_host import from_host
from tta.methods.base import Method
from tta.methods.state import unpark
from tta.source.source_data import SourceData
from tta.streams.pacing.costs import Cost
from tta.streams.pacing.paces import Pace
from tta.streams.pacing.pool import Pool

ADAPTED = "adapted"
"""Counter of the images of batches that were adapted to."""
HINT = 1e-3
"""Logit by which a guessed class stands above the others, which are all alike."""


class Paced:
    """Adapts where a pace says so; other batches are predicted by the method as it stands.

    Args:
        method: to be paced.
        pace: says to which batches it adapts, and is told what that costs.
        cost: of a step; None where the pace does not ask.
        single_model: guess the batches that are not adapted to, as where the only model is busy
            with the last one.
        pooled: adapt to images drawn, even in their predicted classes, from all since the last
            step, after the batch has been predicted.
        seed: of the guesses and of what is drawn.
    """

    def __init__(
        self,
        method: Method,
        pace: Pace,
        cost: Cost | None = None,
        *,
        single_model: bool = False,
        pooled: bool = False,
        seed: int = 0,
    ) -> None:
        self.method, self.pace, self.cost = method, pace, cost
        self.single_model, self.pool = single_model, Pool() if pooled else None
        self.generator = torch.Generator().manual_seed(seed)
        self.batches = self.steps = 0
        self.total_cost = 0.0
        self.name, self.title, self.paper = method.name, method.title, method.paper
        self.predicts = "before" if pooled else method.predicts
        self.outputs = method.outputs
        self.counters = (ADAPTED, *method.counters)
        self._counted: Tensor | None = None

    def start(self, source: SourceData | None = None, cache: Preparation | None = None) -> None:
        """Prepare the method; see :meth:`Method.start`."""
        self.method.start(source, cache)

    def step(self, images: Tensor) -> Tensor:
        """Return outputs ``[B, C]`` of a batch ``[B, 3, H, W]``, adapting if it is time to."""
        adapts = self.pace.adapts()
        self.batches += 1
        if self.pool is not None:
            outputs = self._step_on_pool(self.pool, images, adapts)
        elif adapts:
            outputs = self._adapt(images)
        else:
            outputs = self._guess(images) if self.single_model else self.method.predict(images)
        self._note(len(images), adapts, outputs.device)
        return outputs

    def _adapt(self, images: Tensor) -> Tensor:
        self.steps += 1
        if self.cost is None:
            return self.method.step(images)
        outputs, cost = self.cost.step(self.method, images)
        self.pace.spent(cost)
        self.total_cost += cost
        return outputs

    def _step_on_pool(self, pool: Pool, images: Tensor, adapts: bool) -> Tensor:
        outputs = self.method.predict(images)
        pool.add(images, outputs)
        if adapts:
            self._adapt(pool.draw(len(images), self.generator))
        return outputs

    def _guess(self, images: Tensor) -> Tensor:
        """Return outputs that name a class at random and are all but sure of none."""
        classes = self.method.backbone.num_classes
        guessed = torch.randint(classes, (len(images), 1), generator=self.generator)
        logits = torch.zeros(len(images), classes).scatter_(1, guessed, HINT)
        logits = from_host(logits, images.device)
        return logits.softmax(1) if self.outputs == "probabilities" else logits

    def _note(self, images: int, adapts: bool, device: torch.device) -> None:
        counted = self.method.count() if adapts else None
        own = torch.full((1, images), float(adapts), device=device)
        if counted is None:
            counted = own.new_zeros(len(self.method.counters), images)
        elif counted.shape[1] != images:  # fewer were drawn than have come
            padding = counted.new_zeros(len(counted), images - counted.shape[1])
            counted = torch.cat([padding, counted], 1)
        self._counted = torch.cat([own, counted.to(own.dtype)])

    def count(self) -> Tensor | None:
        """Return whether the latest batch was adapted to, above what the method counted in it."""
        return self._counted

    def predict(self, images: Tensor) -> Tensor:
        """See :meth:`Method.predict`."""
        return self.method.predict(images)

    def reset(self) -> None:
        """Reset the method as a scenario does: the pace takes note of it."""
        self.pace.reset()
        self.reset_method()

    def reset_method(self) -> None:
        """Forget the pool and reset the method, as a rule does that judges outputs.

        The pace goes on: a method that is reset often is no faster for it.
        """
        self.pool = None if self.pool is None else Pool()
        self.method.reset()

    def facts(self) -> dict[str, Any]:
        """Return how many batches came, how many were adapted to, and what a step cost."""
        mean = self.total_cost / self.steps if self.steps and self.cost is not None else None
        return {"batches": self.batches, "adapted_batches": self.steps, "cost": mean}

    def state_dict(self) -> dict[str, Any]:
        """Return the pace, the pool and the method's state."""
        return {
            "pace": self.pace.state_dict(),
            "pool": None if self.pool is None else self.pool.state_dict(),
            "generator": self.generator.get_state(),
            "counts": [self.batches, self.steps, self.total_cost],
            "method": self.method.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state_dict`."""
        device = next(self.method.backbone.parameters()).device
        self.pace.load_state_dict(state["pace"])
        if self.pool is not None:
            self.pool.load_state_dict(unpark(state["pool"], device), device)
        self.generator.set_state(state["generator"].cpu())
        self.batches, self.steps, self.total_cost = state["counts"]
        self.method.load_state_dict(state["method"])
