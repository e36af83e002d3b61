"""Estimates of accuracy without labels, batch by batch, and resets that they call for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tta.backbones.compilation import Compilation
from tta.backbones.dropout import StageDropout
from tta.experiment.observing.estimate_table import EstimateTable
from tta.streams.loop import Adapter
from tta.tasks.aetta import PASSES, ResetRule, disagreement, mean_confidence, smoothed
from tta.tasks.finite import finite_rows
from tta.tasks.metrics import log_probabilities

Predict = Callable[[Tensor], Tensor]
Guard = Callable[[Tensor], bool]


class Estimator:
    """Estimates the accuracy of each batch, as fractions, on the device, which is not waited for.

    The method is asked in the state whose outputs are judged: before the step where it predicts
    before the update, after the step else. What it is asked changes nothing of it, and is drawn
    from a generator of this alone.

    Args:
        table: of the estimates, by name: ``aetta`` and ``softmax``.
        outputs: what the method returns, see :func:`tta.tasks.metrics.log_probabilities`.
        classes: columns of outputs.
        predict: gives outputs of images, and changes nothing.
        seed: of what is dropped.
        device: where outputs are.
        dropout: in the models that ``predict`` uses; None where nothing is dropped.
        rule: says when to reset; None for never.
        compilation: of the models that ``predict`` uses, see
            :class:`~tta.backbones.compilation.Compilation`; None where they are not compiled.

    Attributes:
        latest: estimates of the latest batch ``[E]``.
        resets: numbers, from 1, of the batches after which the method was reset.
    """

    def __init__(
        self,
        table: EstimateTable,
        outputs: str,
        classes: int,
        predict: Predict,
        seed: int,
        device: torch.device | str = "cpu",
        dropout: StageDropout | None = None,
        rule: ResetRule | None = None,
        compilation: Compilation | None = None,
    ) -> None:
        self.table, self.outputs, self.classes = table, outputs, classes
        self.predict, self.seed, self.device = predict, seed, device
        self.dropout, self.rule, self.compilation = dropout, rule, compilation
        self.latest: Tensor | None = None
        self.resets: list[int] = []
        self._error: Tensor | None = None
        self._batches = 0
        self._was_reset = False

    @torch.no_grad()
    def update(self, images: Tensor) -> None:
        """Estimate the accuracy on images ``[B, 3, H, W]`` of the method as it is."""
        log_p = self._log_p(images)
        makers = {"aetta": self._aetta, "softmax": lambda _, log_p: mean_confidence(log_p)}
        self.latest = torch.stack([makers[name](images, log_p) for name in self.table.names])
        self._batches += 1

    def _log_p(self, images: Tensor) -> Tensor:
        """Return log-probabilities ``[B, C]``, NaN where outputs are not finite."""
        outputs = self.predict(images)
        known = finite_rows(outputs, self.outputs)[:, None]
        return log_probabilities(outputs, self.outputs).where(known, torch.nan)

    def _aetta(self, images: Tensor, log_p: Tensor) -> Tensor:
        key = np.random.SeedSequence([self.seed, self._batches]).generate_state(1, np.uint64)
        generator = torch.Generator(self.device).manual_seed(int(key[0] >> 1))
        assert self.dropout is not None  # noqa: S101 - made with the name "aetta"
        with self.dropout.on(generator, self.compilation):
            dropped = torch.stack([self._log_p(images) for _ in range(PASSES)])
        error, entropy = disagreement(log_p, dropped)
        self._error = smoothed(self._error, error, entropy, self.classes)
        return 1 - self._error

    def guard(self, guard: Guard, reset: Callable[[], None]) -> Guard:
        """Return a guard that also resets the method when that is due.

        The host has to decide: with a rule it waits for the device, once a batch.
        """
        rule = self.rule
        if rule is None:
            return guard

        def both(outputs: Tensor) -> bool:
            self._was_reset = False
            goes_on = guard(outputs)
            if not self._was_reset and rule.is_due(self._of("aetta").item()):
                reset()
                self.resets.append(self._batches)
            return goes_on

        return both

    def reset_by_outputs(self, reset: Callable[[], None]) -> None:
        """Reset the method for its outputs' sake, and forget what could call for another reset."""
        self._was_reset = True
        if self.rule is not None:
            self.rule.forget()
        reset()

    def _of(self, name: str) -> Tensor:
        assert self.latest is not None  # noqa: S101 - after a batch
        return self.latest[self.table.names.index(name)]

    def facts(self) -> dict[str, Any]:
        """Return what a summary says of the estimates, and of resets where there is a rule."""
        facts: dict[str, Any] = {"estimates": self.table.figures()}
        if self.rule is not None:
            facts["reset_rule"] = {"name": "aetta", "after_batches": self.resets}
        return facts

    def state_dict(self) -> dict[str, Any]:
        """Return what goes on from batch to batch: tensors and plain values."""
        return {
            "table": self.table.state(),
            "error": None if self._error is None else self._error.cpu(),
            "batches": self._batches,
            "resets": list(self.resets),
            "rule": None if self.rule is None else list(self.rule.estimates),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state_dict`."""
        self.table.load(state["table"])
        error = state["error"]
        self._error = None if error is None else error.to(self.device)
        self._batches, self.resets = int(state["batches"]), list(map(int, state["resets"]))
        if self.rule is not None:
            self.rule.estimates = list(map(float, state["rule"]))


class Estimated:
    """A method whose accuracy is estimated at each step, apart from its cost.

    Args:
        method: that adapts.
        predicts: whether its outputs come from ``before`` or ``after`` the update.
        estimator: asks it.
        apart: context in which it is asked.
    """

    def __init__(
        self,
        method: Adapter,
        predicts: str,
        estimator: Estimator,
        apart: Callable[[], contextlib.AbstractContextManager[None]],
    ) -> None:
        self.method, self.predicts = method, predicts
        self.estimator, self.apart = estimator, apart
        self._counted: Tensor | None = None

    def step(self, images: Tensor) -> Tensor:
        """See :meth:`tta.methods.Method.step`."""
        if self.predicts == "before":
            self._ask(images)
            return self._step(images)
        outputs = self._step(images).detach().clone()  # the memory may be used again
        self._ask(images)
        return outputs

    def _step(self, images: Tensor) -> Tensor:
        outputs, counted = self.method.step(images), self.method.count()
        self._counted = None if counted is None else counted.clone()
        return outputs

    def _ask(self, images: Tensor) -> None:
        with self.apart():
            self.estimator.update(images)

    def count(self) -> Tensor | None:
        """See :meth:`tta.methods.Method.count`."""
        return self._counted

    def reset(self) -> None:
        """Reset the method, and forget what could call for another reset."""
        if self.estimator.rule is not None:
            self.estimator.rule.forget()
        self.method.reset()
